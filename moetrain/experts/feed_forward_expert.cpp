// Feed-forwards as grouped matrix multiplications.
#include <ATen/ATen.h>

#include "moetrain/experts/expert.h"
#include "moetrain/experts/grouped_gemm.h"
#include "moetrain/fused/activations.h"
#include "moetrain/fused/few_rows.h"
#include "moetrain/layers/feed_forward.h"

namespace moetrain {
namespace {

using parallel::ExpertCompute;
using parallel::RowTensors;

/// In evaluation.
at::Tensor evaluated(const at::Tensor& rows_RM, const at::Tensor& weight_EMN, const ExpertCompute::Counts& counts) {
  if (has_few_rows_of_experts(rows_RM, weight_EMN, counts)) return few_rows_experts(rows_RM, weight_EMN, counts);
  return grouped_mm(rows_RM, weight_EMN, counts);
}

/// weights: gate [E, D, F], up [E, D, F], down [E, F, D]
class SwigluCompute : public ExpertCompute {
 public:
  std::vector<int64_t> saved_widths(int64_t, const Weights& weights) const override {  // gate, up, hidden
    return std::vector<int64_t>(3, weights[0].size(2));
  }
  std::vector<int64_t> kept_widths(int64_t, const Weights& weights) const override {  // gradients of gate and up
    return std::vector<int64_t>(2, weights[0].size(2));
  }

  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    at::Tensor gate_RF = saved[0], up_RF = saved[1], hidden_RF = saved[2];
    grouped_mm_out(gate_RF, rows_RD, weights[0], counts);
    grouped_mm_out(up_RF, rows_RD, weights[1], counts);
    swiglu_out(hidden_RF, gate_RF, up_RF);
    return grouped_mm(hidden_RF, weights[2], counts);
  }

  at::Tensor backward_rows(const at::Tensor&, const RowTensors& saved, const at::Tensor& grad_RD, const Counts& counts,
                           const Weights& weights, const RowTensors& kept) const override {
    const at::Tensor &gate_RF = saved[0], &up_RF = saved[1];
    at::Tensor grad_gate_RF = kept[0], grad_up_RF = kept[1];
    swiglu_backward_out(grad_gate_RF, grad_up_RF, grouped_mm_transposed(grad_RD, weights[2], counts), gate_RF, up_RF);
    return grouped_mm_transposed(grad_gate_RF, weights[0], counts)
        .add_(grouped_mm_transposed(grad_up_RF, weights[1], counts));
  }

  void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                        const RowTensors& kept, const Counts& counts, const Weights&,
                        const Weights& gradients) const override {
    grouped_weight_gradient_out(gradients[0], rows_RD, kept[0], counts);
    grouped_weight_gradient_out(gradients[1], rows_RD, kept[1], counts);
    grouped_weight_gradient_out(gradients[2], saved[2], grad_RD, counts);
  }

  int64_t hidden_units(const Weights& weights) const override { return weights[0].size(2); }
  at::Tensor hidden(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    at::Tensor gate_RF = evaluated(rows_RD, weights[0], counts);
    swiglu_out(gate_RF, gate_RF, evaluated(rows_RD, weights[1], counts));
    return gate_RF;
  }
  at::Tensor evaluate(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    return evaluated(hidden(rows_RD, counts, weights), weights[2], counts);
  }
};

/// An activation of one input, and its gradient, each written where told.
struct Curve {
  void (*value)(at::Tensor& out, const at::Tensor& input);
  void (*backward)(at::Tensor& out, const at::Tensor& grad, const at::Tensor& input);
};

constexpr Curve kGelu{exact_gelu_out, exact_gelu_backward_out};
constexpr Curve kRelu{[](at::Tensor& out, const at::Tensor& input) { at::relu_out(out, input); },
                      [](at::Tensor& out, const at::Tensor& grad, const at::Tensor& input) {
                        at::threshold_backward_out(out, grad, input, 0);
                      }};

/// weights: up [E, D, F], down [E, F, D]
class UngatedCompute : public ExpertCompute {
 public:
  explicit UngatedCompute(const Curve& curve) : curve_(curve) {}

  std::vector<int64_t> saved_widths(int64_t, const Weights& weights) const override {  // up, hidden
    return std::vector<int64_t>(2, weights[0].size(2));
  }
  std::vector<int64_t> kept_widths(int64_t, const Weights& weights) const override {
    return {weights[0].size(2)};
  }  // of up

  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    at::Tensor up_RF = saved[0], hidden_RF = saved[1];
    grouped_mm_out(up_RF, rows_RD, weights[0], counts);
    curve_.value(hidden_RF, up_RF);
    return grouped_mm(hidden_RF, weights[1], counts);
  }

  at::Tensor backward_rows(const at::Tensor&, const RowTensors& saved, const at::Tensor& grad_RD, const Counts& counts,
                           const Weights& weights, const RowTensors& kept) const override {
    at::Tensor grad_up_RF = kept[0];
    curve_.backward(grad_up_RF, grouped_mm_transposed(grad_RD, weights[1], counts), saved[0]);
    return grouped_mm_transposed(grad_up_RF, weights[0], counts);
  }

  void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                        const RowTensors& kept, const Counts& counts, const Weights&,
                        const Weights& gradients) const override {
    grouped_weight_gradient_out(gradients[0], rows_RD, kept[0], counts);
    grouped_weight_gradient_out(gradients[1], saved[1], grad_RD, counts);
  }

  int64_t hidden_units(const Weights& weights) const override { return weights[0].size(2); }
  at::Tensor hidden(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    at::Tensor up_RF = evaluated(rows_RD, weights[0], counts);
    curve_.value(up_RF, up_RF);
    return up_RF;
  }
  at::Tensor evaluate(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    return evaluated(hidden(rows_RD, counts, weights), weights[1], counts);
  }

 private:
  Curve curve_;
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
          .kept = matrices * part.hidden,          // gate and up, and what is made of them
          .in_backward = matrices * part.hidden};  // the gradient of each
}

}  // namespace

ExpertPreset feed_forward_expert() {
  return {.weights = feed_forward_weights, .compute = feed_forward_compute, .costs = costs_of_feed_forward};
}

}  // namespace moetrain
