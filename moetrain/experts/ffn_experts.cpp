#include "moetrain/experts/ffn_experts.h"

#include <ATen/ATen.h>

#include "moetrain/experts/grouped_gemm.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

using parallel::ExpertCompute;
using parallel::RowTensors;

/// weights: gate [E, D, F], up [E, D, F], down [E, F, D]
class SwigluCompute : public ExpertCompute {
 public:
  std::vector<int64_t> saved_widths(const Weights& weights) const override {  // gate, up, hidden
    return std::vector<int64_t>(3, weights[0].size(2));
  }
  std::vector<int64_t> kept_widths(const Weights& weights) const override {  // gradients of gate and up
    return std::vector<int64_t>(2, weights[0].size(2));
  }

  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    at::Tensor gate_RF = saved[0], up_RF = saved[1], hidden_RF = saved[2];
    grouped_mm_out(gate_RF, rows_RD, weights[0], counts);
    grouped_mm_out(up_RF, rows_RD, weights[1], counts);
    at::silu_out(hidden_RF, gate_RF).mul_(up_RF);
    return grouped_mm(hidden_RF, weights[2], counts);
  }

  at::Tensor backward_rows(const at::Tensor&, const RowTensors& saved, const at::Tensor& grad_RD, const Counts& counts,
                           const Weights& weights, const RowTensors& kept) const override {
    const at::Tensor &gate_RF = saved[0], &up_RF = saved[1];
    at::Tensor grad_gate_RF = kept[0], grad_up_RF = kept[1];
    at::Tensor grad_hidden_RF = grouped_mm_transposed(grad_RD, weights[2], counts);
    at::silu_out(grad_up_RF, gate_RF).mul_(grad_hidden_RF);
    at::silu_backward_out(grad_gate_RF, grad_hidden_RF.mul_(up_RF), gate_RF);
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
};

/// An activation of one input, and its gradient, each written where told.
struct Curve {
  void (*value)(at::Tensor& out, const at::Tensor& input);
  void (*backward)(at::Tensor& out, const at::Tensor& grad, const at::Tensor& input);
};

constexpr Curve kGelu{
    [](at::Tensor& out, const at::Tensor& input) { at::gelu_out(out, input); },
    [](at::Tensor& out, const at::Tensor& grad, const at::Tensor& input) { at::gelu_backward_out(out, grad, input); }};
constexpr Curve kRelu{[](at::Tensor& out, const at::Tensor& input) { at::relu_out(out, input); },
                      [](at::Tensor& out, const at::Tensor& grad, const at::Tensor& input) {
                        at::threshold_backward_out(out, grad, input, 0);
                      }};

/// weights: up [E, D, F], down [E, F, D]
class UngatedCompute : public ExpertCompute {
 public:
  explicit UngatedCompute(const Curve& curve) : curve_(curve) {}

  std::vector<int64_t> saved_widths(const Weights& weights) const override {  // up, hidden
    return std::vector<int64_t>(2, weights[0].size(2));
  }
  std::vector<int64_t> kept_widths(const Weights& weights) const override { return {weights[0].size(2)}; }  // of up

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

 private:
  Curve curve_;
};

}  // namespace

FfnExperts::FfnExperts(const ParameterSource& source, const Shape& shape, double std, double output_std) {
  const int64_t experts = shape.experts, width = shape.expert.width, hidden = shape.expert.hidden;
  const parallel::Mesh& mesh = *source.mesh();
  group_ = {source.mesh(), parallel::expert_map(mesh.config(), experts), mesh.schedule()->add_layer()};
  const int64_t parts = mesh.shape().expert_tensor;
  if (hidden % parts != 0) {
    parallel::user_error("mesh.expert_tensor = ", parts, " does not divide moe.hidden = ", hidden, "; legal: a hidden ",
                         "width such as ", hidden / parts * parts, " or ", (hidden / parts + 1) * parts);
  }
  const parallel::DimPart own_experts{0, group_.map.first(mesh.place().expert), group_.map.count(mesh.place().expert)};
  const auto add = [&](const std::string& name, const std::vector<int64_t>& dims, int64_t hidden_dim, double init) {
    const parallel::DimPart own_hidden{hidden_dim, mesh.place().expert_tensor * (hidden / parts), hidden / parts};
    weights_.push_back(register_parameter(
        name, source.block(name, dims, {own_experts, own_hidden}, parallel::Replicas::kExpertData, init)));
    parameters_of_expert_ += width * hidden;
  };
  if (shape.expert.activation == Activation::kSwiglu) {
    add("gate", {experts, width, hidden}, 2, std);
    compute_ = std::make_shared<SwigluCompute>();
  } else {
    compute_ = std::make_shared<UngatedCompute>(shape.expert.activation == Activation::kGelu ? kGelu : kRelu);
  }
  add("up", {experts, width, hidden}, 2, std);
  add("down", {experts, hidden, width}, 1, output_std);
}

at::Tensor FfnExperts::forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  return parallel::expert_pipeline(tokens_TD, assignment, compute_, weights_, group_);
}

}  // namespace moetrain
