#include "optim/updates/adamw.h"

#include <ATen/ATen.h>

#include <optional>
#include <utility>

#include "parallel/base/fault.h"

namespace optim {
namespace {

/// The lists that the kernel takes, for the tensors that share a decay.
struct Group {
  std::vector<at::Tensor> weights, gradients, first, second, steps;
};

}  // namespace

AdamW::AdamW(std::vector<at::Tensor> weights, const AdamwConfig& config)
    : config_(config), weights_(std::move(weights)) {
  for (const at::Tensor& weight : weights_) {
    first_.push_back(at::zeros_like(weight));
    second_.push_back(at::zeros_like(weight));
  }
}

void AdamW::step(const std::vector<at::Tensor>& gradients, double learning_rate, double gradient_scale) {
  parallel::check_internal(gradients.size() == weights_.size(), "AdamW: ", gradients.size(), " gradients for ",
                           weights_.size(), " weights");
  const at::NoGradGuard no_gradient;
  if (weights_.empty()) return;
  ++updates_;
  const auto options = weights_.front().options().dtype(at::kFloat);
  const at::Tensor steps = at::full({}, static_cast<double>(updates_), options);
  // The kernel divides, by a float32 number: float64 gradients would lose half of their digits, and are scaled apart.
  const bool scaled_apart = weights_.front().scalar_type() == at::kDouble && gradient_scale != 1.0;
  std::optional<at::Tensor> divisor;
  if (!scaled_apart && gradient_scale != 1.0) divisor = at::full({}, 1.0 / gradient_scale, options);
  Group decayed, plain;
  for (size_t i = 0; i < weights_.size(); ++i) {
    Group& group = weights_[i].dim() >= 2 ? decayed : plain;
    group.weights.push_back(weights_[i]);
    group.gradients.push_back(scaled_apart ? gradients[i] * gradient_scale : gradients[i]);
    group.first.push_back(first_[i]);
    group.second.push_back(second_[i]);
    group.steps.push_back(steps);
  }
  const auto run = [&](Group& group, double decay) {
    if (group.weights.empty()) return;
    at::_fused_adamw_(group.weights, group.gradients, group.first, group.second, {}, group.steps, learning_rate,
                      config_.beta1, config_.beta2, decay, config_.epsilon, /*amsgrad=*/false, /*maximize=*/false,
                      divisor, /*found_inf=*/{});
  };
  run(decayed, config_.weight_decay);
  run(plain, 0.0);
}

}  // namespace optim
