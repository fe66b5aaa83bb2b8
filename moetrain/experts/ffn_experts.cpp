#include "moetrain/experts/ffn_experts.h"

#include <ATen/ATen.h>

#include "moetrain/experts/grouped_gemm.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

using parallel::ExpertCompute;
using Weights = std::vector<at::Tensor>;
using Counts = std::vector<int64_t>;

/// weights: gate [E, D, F], up [E, D, F], down [E, F, D]
class SwigluCompute : public ExpertCompute {
 public:
  Output forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    const at::Tensor gate_RF = grouped_mm(rows_RD, weights[0], counts);
    const at::Tensor up_RF = grouped_mm(rows_RD, weights[1], counts);
    const at::Tensor hidden_RF = at::silu(gate_RF).mul_(up_RF);
    return {grouped_mm(hidden_RF, weights[2], counts), {{rows_RD, gate_RF, up_RF, hidden_RF}}};
  }

  Gradients backward(const Saved& saved, const at::Tensor& grad_RD, const Counts& counts,
                     const Weights& weights) const override {
    const at::Tensor &rows_RD = saved.tensors[0], &gate_RF = saved.tensors[1], &up_RF = saved.tensors[2],
                     &hidden_RF = saved.tensors[3];
    const at::Tensor grad_hidden_RF = grouped_mm_transposed(grad_RD, weights[2], counts);
    const at::Tensor grad_up_RF = at::silu(gate_RF).mul_(grad_hidden_RF);
    const at::Tensor grad_gate_RF = at::silu_backward(grad_hidden_RF * up_RF, gate_RF);
    return {
        grouped_mm_transposed(grad_gate_RF, weights[0], counts)
            .add_(grouped_mm_transposed(grad_up_RF, weights[1], counts)),
        {grouped_weight_gradient(rows_RD, grad_gate_RF, counts), grouped_weight_gradient(rows_RD, grad_up_RF, counts),
         grouped_weight_gradient(hidden_RF, grad_RD, counts)}};
  }
};

/// An activation of one input, and its gradient.
struct Curve {
  at::Tensor (*value)(const at::Tensor& input);
  at::Tensor (*backward)(const at::Tensor& grad, const at::Tensor& input);
};

constexpr Curve kGelu{[](const at::Tensor& input) { return at::gelu(input); },
                      [](const at::Tensor& grad, const at::Tensor& input) { return at::gelu_backward(grad, input); }};
constexpr Curve kRelu{
    [](const at::Tensor& input) { return at::relu(input); },
    [](const at::Tensor& grad, const at::Tensor& input) { return at::threshold_backward(grad, input, 0); }};

/// weights: up [E, D, F], down [E, F, D]
class UngatedCompute : public ExpertCompute {
 public:
  explicit UngatedCompute(const Curve& curve) : curve_(curve) {}

  Output forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    const at::Tensor up_RF = grouped_mm(rows_RD, weights[0], counts);
    const at::Tensor hidden_RF = curve_.value(up_RF);
    return {grouped_mm(hidden_RF, weights[1], counts), {{rows_RD, up_RF, hidden_RF}}};
  }

  Gradients backward(const Saved& saved, const at::Tensor& grad_RD, const Counts& counts,
                     const Weights& weights) const override {
    const at::Tensor &rows_RD = saved.tensors[0], &up_RF = saved.tensors[1], &hidden_RF = saved.tensors[2];
    const at::Tensor grad_up_RF = curve_.backward(grouped_mm_transposed(grad_RD, weights[1], counts), up_RF);
    return {
        grouped_mm_transposed(grad_up_RF, weights[0], counts),
        {grouped_weight_gradient(rows_RD, grad_up_RF, counts), grouped_weight_gradient(hidden_RF, grad_RD, counts)}};
  }

 private:
  Curve curve_;
};

}  // namespace

FfnExperts::FfnExperts(const ParameterSource& source, const Shape& shape, double std, double output_std) {
  const int64_t experts = shape.experts, width = shape.expert.width, hidden = shape.expert.hidden;
  const parallel::Mesh& mesh = *source.mesh();
  group_ = {source.mesh(), parallel::expert_map(mesh.config(), experts)};
  const int64_t parts = mesh.shape().expert_tensor;
  if (hidden % parts != 0) {
    parallel::user_error("mesh.expert_tensor = ", parts, " does not divide moe.hidden = ", hidden, "; legal: a hidden ",
                         "width such as ", hidden / parts * parts, " or ", (hidden / parts + 1) * parts);
  }
  const parallel::DimPart own_experts{0, group_.map.first(mesh.place().expert), group_.map.count(mesh.place().expert)};
  const auto add = [&](const std::string& name, const std::vector<int64_t>& dims, int64_t hidden_dim, double init) {
    const parallel::DimPart own_hidden{hidden_dim, mesh.place().expert_tensor * (hidden / parts), hidden / parts};
    const auto placement = parallel::block_placement(dims, {own_experts, own_hidden}, parallel::Replicas::kExpertData);
    weights_.push_back(register_parameter(name, source.normal(name, placement, init)));
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
