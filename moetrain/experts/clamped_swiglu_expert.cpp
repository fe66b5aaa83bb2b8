// GPT-OSS's feed-forward (OpenAI 2025): SwiGLU held within limits, with biases.
#include <ATen/ATen.h>

#include "moetrain/experts/expert.h"
#include "moetrain/fused/activations.h"
#include "parallel/dispatch/autograd_compute.h"
#include "parallel/dispatch/permutation.h"

namespace moetrain {
namespace {

/// Of a gate and of what it multiplies, and of the sigmoid; as published.
constexpr Clamps kClamps{.limit = 7.0, .slope = 1.702};

/// Of gate = x W_g + b_g and up = x W_u + b_u.
at::Tensor hidden_of(const at::Tensor& rows_RD, const parallel::ExpertCompute::Weights& weights) {
  return clamped_swiglu(at::addmm(weights[1], rows_RD, weights[0]), at::addmm(weights[3], rows_RD, weights[2]),
                        kClamps);
}

/// Of one expert: hidden W_d + b_d.
at::Tensor expert_of(const at::Tensor& rows_RD, const parallel::ExpertCompute::Weights& weights) {
  return at::addmm(weights[5], hidden_of(rows_RD, weights), weights[4]);
}

class ClampedSwigluCompute : public parallel::AutogradCompute {
 public:
  ClampedSwigluCompute() : parallel::AutogradCompute(expert_of) {}

  int64_t hidden_units(const Weights& weights) const override { return weights[0].size(2); }
  at::Tensor hidden(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    at::Tensor hidden_RF = at::empty({rows_RD.size(0), hidden_units(weights)}, rows_RD.options());
    parallel::for_each_expert(counts, [&](int64_t expert, int64_t first, int64_t count) {
      Weights own;
      for (const at::Tensor& weight : weights) own.push_back(weight[expert]);
      hidden_RF.narrow(0, first, count).copy_(hidden_of(rows_RD.narrow(0, first, count), own));
    });
    return hidden_RF;
  }
};

std::vector<ExpertWeight> clamped_swiglu_weights(const ExpertShape& shape, const MoeConfig&) {
  const int64_t width = shape.width, hidden = shape.hidden;
  return {{"gate", {width, hidden}, shape.std},        {"gate_bias", {hidden}, 0},
          {"up", {width, hidden}, shape.std},          {"up_bias", {hidden}, 0},
          {"down", {hidden, width}, shape.output_std}, {"down_bias", {width}, 0}};
}

std::shared_ptr<const parallel::ExpertCompute> clamped_swiglu_compute(const ExpertShape&, const MoeConfig&) {
  return std::make_shared<ClampedSwigluCompute>();
}

}  // namespace

ExpertPreset clamped_swiglu_expert() { return {.weights = clamped_swiglu_weights, .compute = clamped_swiglu_compute}; }

}  // namespace moetrain
