// Feed-forwards as grouped matrix multiplications.
#include <ATen/ATen.h>

#include "moetrain/experts/expert.h"
#include "moetrain/experts/gathered_feed_forward.h"
#include "moetrain/fused/activations.h"
#include "moetrain/fused/few_rows.h"
#include "moetrain/layers/feed_forward.h"
#include "moetrain/products/expert_turns.h"
#include "moetrain/products/grouped_gemm.h"
#include "moetrain/products/product_way.h"

namespace moetrain {
namespace {

using parallel::ExpertCompute;
using parallel::RowTensors;

/// In evaluation.
at::Tensor evaluated(const at::Tensor& rows_RM, const at::Tensor& weight_EMN, const ExpertCompute::Counts& counts) {
  if (has_few_rows_of_experts(rows_RM, weight_EMN, counts)) return few_rows_experts(rows_RM, weight_EMN, counts);
  return grouped_mm(rows_RM, weight_EMN, counts);
}

constexpr HiddenUnits kGated{
    [](at::Tensor& hidden_RF, const RowTensors& made) { swiglu_out(hidden_RF, made[0], made[1]); },
    [](RowTensors& made, const WeightedHidden& all) { swiglu_weighted_again_(made[0], made[1], all); }};

/// weights: gate [E, D, F], up [E, D, F], down [E, F, D]
class SwigluCompute : public ExpertCompute {
 public:
  // What is made of gate and up is made again in backward, where their gradients take their place.
  std::vector<int64_t> saved_widths(int64_t, const Weights& weights) const override {  // gate, up
    return std::vector<int64_t>(2, weights[0].size(2));
  }
  std::vector<int64_t> kept_widths(int64_t, const Weights& weights) const override { return {weights[0].size(2)}; }

  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    at::Tensor out_RD = at::empty({rows_RD.size(0), weights[2].size(2)}, rows_RD.options());
    in_row_turns(rows_RD, counts, weights[2].size(1), [&](const ExpertTurn& turn, at::Tensor hidden_RF) {
      at::Tensor gate_RF = turn.of(saved[0]), up_RF = turn.of(saved[1]), own_RD = turn.of(out_RD);
      grouped_mm_out(gate_RF, turn.of(rows_RD), turn.weight(weights[0]), turn.counts);
      grouped_mm_out(up_RF, turn.of(rows_RD), turn.weight(weights[1]), turn.counts);
      swiglu_out(hidden_RF, gate_RF, up_RF);
      grouped_mm_out(own_RD, hidden_RF, turn.weight(weights[2]), turn.counts);
    });
    return out_RD;
  }

  at::Tensor backward_rows(const at::Tensor&, const RowTensors& saved, const at::Tensor& grad_RD, const Counts& counts,
                           const Weights& weights, const RowTensors& kept) const override {
    at::Tensor grad_rows_RD = at::empty({grad_RD.size(0), weights[0].size(1)}, grad_RD.options());
    in_row_turns(grad_RD, counts, weights[2].size(1), [&](const ExpertTurn& turn, at::Tensor grad_hidden_RF) {
      at::Tensor gate_RF = turn.of(saved[0]), up_RF = turn.of(saved[1]), hidden_RF = turn.of(kept[0]),
                 own_RD = turn.of(grad_rows_RD);
      grouped_mm_transposed_out(grad_hidden_RF, turn.of(grad_RD), turn.weight(weights[2]), turn.counts);
      swiglu_again_(gate_RF, up_RF, hidden_RF, grad_hidden_RF);
      grouped_mm_transposed_out(own_RD, gate_RF, turn.weight(weights[0]), turn.counts);
      grouped_mm_transposed_out(own_RD, up_RF, turn.weight(weights[1]), turn.counts, /*add=*/true);
    });
    return grad_rows_RD;
  }

  void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                        const RowTensors& kept, const Counts& counts, const Weights&,
                        const Weights& gradients) const override {
    in_expert_turns(rows_RD, counts, [&](const ExpertTurn& turn) {
      grouped_weight_gradient_out(turn.weight(gradients[0]), turn.of(rows_RD), turn.of(saved[0]), turn.counts);
      grouped_weight_gradient_out(turn.weight(gradients[1]), turn.of(rows_RD), turn.of(saved[1]), turn.counts);
      grouped_weight_gradient_out(turn.weight(gradients[2]), turn.of(kept[0]), turn.of(grad_RD), turn.counts);
    });
  }

  bool writes_summed_gradients() const override { return has_wide_sums(); }
  int64_t hidden_units(const Weights& weights) const override { return weights[0].size(2); }
  at::Tensor hidden(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    at::Tensor gate_RF = evaluated(rows_RD, weights[0], counts);
    swiglu_out(gate_RF, gate_RF, evaluated(rows_RD, weights[1], counts));
    return gate_RF;
  }
  at::Tensor evaluate(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    return evaluated(hidden(rows_RD, counts, weights), weights[2], counts);
  }
  const parallel::GatheringCompute* gathering() const override { return &gathered_; }

 private:
  GatheredFeedForward gathered_{kGated};
};

/// An activation of one input, and its gradient, each written where told.
struct Curve {
  void (*value)(at::Tensor& out, const at::Tensor& input);
  void (*backward)(at::Tensor& out, const at::Tensor& grad, const at::Tensor& input);
  HiddenUnits gathered;
};

constexpr Curve kGelu{exact_gelu_out,
                      exact_gelu_backward_out,
                      {[](at::Tensor& hidden_RF, const RowTensors& made) { exact_gelu_out(hidden_RF, made[0]); },
                       [](RowTensors& made, const WeightedHidden& all) { exact_gelu_weighted_again_(made[0], all); }}};
constexpr Curve kRelu{[](at::Tensor& out, const at::Tensor& input) { at::relu_out(out, input); },
                      [](at::Tensor& out, const at::Tensor& grad, const at::Tensor& input) {
                        at::threshold_backward_out(out, grad, input, 0);
                      },
                      {[](at::Tensor& hidden_RF, const RowTensors& made) { at::relu_out(hidden_RF, made[0]); },
                       [](RowTensors& made, const WeightedHidden& all) { relu_weighted_again_(made[0], all); }}};

/// weights: up [E, D, F], down [E, F, D]
class UngatedCompute : public ExpertCompute {
 public:
  explicit UngatedCompute(const Curve& curve) : curve_(curve), gathered_(curve.gathered) {}

  std::vector<int64_t> saved_widths(int64_t, const Weights& weights) const override {  // up, hidden
    return std::vector<int64_t>(2, weights[0].size(2));
  }
  std::vector<int64_t> kept_widths(int64_t, const Weights&) const override { return {}; }  // up's takes its place

  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    at::Tensor out_RD = at::empty({rows_RD.size(0), weights[1].size(2)}, rows_RD.options());
    in_row_turns(rows_RD, counts, /*width=*/0, [&](const ExpertTurn& turn, const at::Tensor&) {
      at::Tensor up_RF = turn.of(saved[0]), hidden_RF = turn.of(saved[1]), own_RD = turn.of(out_RD);
      grouped_mm_out(up_RF, turn.of(rows_RD), turn.weight(weights[0]), turn.counts);
      curve_.value(hidden_RF, up_RF);
      grouped_mm_out(own_RD, hidden_RF, turn.weight(weights[1]), turn.counts);
    });
    return out_RD;
  }

  at::Tensor backward_rows(const at::Tensor&, const RowTensors& saved, const at::Tensor& grad_RD, const Counts& counts,
                           const Weights& weights, const RowTensors&) const override {
    at::Tensor grad_rows_RD = at::empty({grad_RD.size(0), weights[0].size(1)}, grad_RD.options());
    in_row_turns(grad_RD, counts, weights[1].size(1), [&](const ExpertTurn& turn, at::Tensor grad_hidden_RF) {
      at::Tensor up_RF = turn.of(saved[0]), own_RD = turn.of(grad_rows_RD);
      grouped_mm_transposed_out(grad_hidden_RF, turn.of(grad_RD), turn.weight(weights[1]), turn.counts);
      curve_.backward(up_RF, grad_hidden_RF, up_RF);
      grouped_mm_transposed_out(own_RD, up_RF, turn.weight(weights[0]), turn.counts);
    });
    return grad_rows_RD;
  }

  void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                        const RowTensors&, const Counts& counts, const Weights&,
                        const Weights& gradients) const override {
    in_expert_turns(rows_RD, counts, [&](const ExpertTurn& turn) {
      grouped_weight_gradient_out(turn.weight(gradients[0]), turn.of(rows_RD), turn.of(saved[0]), turn.counts);
      grouped_weight_gradient_out(turn.weight(gradients[1]), turn.of(saved[1]), turn.of(grad_RD), turn.counts);
    });
  }

  bool writes_summed_gradients() const override { return has_wide_sums(); }
  int64_t hidden_units(const Weights& weights) const override { return weights[0].size(2); }
  at::Tensor hidden(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    at::Tensor up_RF = evaluated(rows_RD, weights[0], counts);
    curve_.value(up_RF, up_RF);
    return up_RF;
  }
  at::Tensor evaluate(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    return evaluated(hidden(rows_RD, counts, weights), weights[1], counts);
  }
  const parallel::GatheringCompute* gathering() const override { return &gathered_; }

 private:
  Curve curve_;
  GatheredFeedForward gathered_;
};

bool gated(const ExpertShape& shape) { return shape.activation == Activation::kSwiglu; }

/// The same formulae and names as FeedForward's, without bias.
std::vector<ExpertWeight> feed_forward_weights(const ExpertShape& shape, const MoeConfig&) {
  const int64_t width = shape.width, hidden = shape.hidden;
  std::vector<ExpertWeight> weights;
  if (gated(shape)) weights.push_back({"gate", {width, hidden}, shape.std, 1});
  weights.push_back({"up", {width, hidden}, shape.std, 1});
  weights.push_back({"down", {hidden, width}, shape.output_std, 0});
  return weights;
}

std::shared_ptr<const parallel::ExpertCompute> feed_forward_compute(const ExpertShape& part, const MoeConfig&) {
  if (gated(part)) return std::make_shared<SwigluCompute>();
  return std::make_shared<UngatedCompute>(part.activation == Activation::kGelu ? kGelu : kRelu);
}

ExpertCosts costs_of_feed_forward(const ExpertShape& part, const MoeConfig&) {
  const int64_t matrices = feed_forward_costs(part.activation).matrices;
  return {.matrices = matrices,
          .multiply_adds = static_cast<double>(matrices * part.width * part.hidden),
          .kept = 2 * part.hidden,  // gate and up; of one alone it and what is made of it
          .in_forward = (matrices - 2) * part.hidden,
          .in_backward = (matrices - 1) * part.hidden,  // that gradient, and with a gate what is made of both
          .gathered = GatheredCosts{.kept = (matrices - 1) * part.hidden, .hidden = part.hidden}};
}

}  // namespace

ExpertPreset feed_forward_expert() {
  return {.weights = feed_forward_weights, .compute = feed_forward_compute, .costs = costs_of_feed_forward};
}

}  // namespace moetrain
