#include "optim/optimizer.h"

#include <ATen/core/Tensor.h>

namespace optim {
namespace {

std::vector<at::Tensor> tensors_of(const std::vector<NamedTensor>& parameters) {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& parameter : parameters) tensors.push_back(parameter.tensor);
  return tensors;
}

}  // namespace

Optimizer::Optimizer(const std::vector<NamedTensor>& parameters, const AdamwConfig& config, const Schedule& schedule)
    : config_(config),
      schedule_(schedule),
      masters_(tensors_of(parameters), config.offload),
      adamw_(masters_.tensors(), config) {
  for (const NamedTensor& parameter : parameters) names_.push_back(parameter.name);
}

UpdateReport Optimizer::step(const std::vector<at::Tensor>& gradients, double norm) {
  const double learning_rate = config_.learning_rate * learning_rate_scale(schedule_, adamw_.updates());
  const double scale = clip_scale(norm, config_.clip_norm);
  std::vector<at::Tensor> beside_masters = gradients;
  if (config_.offload) {
    for (at::Tensor& gradient : beside_masters) gradient = gradient.to(at::kCPU);
  }
  adamw_.step(beside_masters, learning_rate, scale);
  masters_.publish();
  return {learning_rate, scale};
}

std::vector<NamedTensor> Optimizer::masters() const {
  std::vector<NamedTensor> all;
  for (size_t i = 0; i < names_.size(); ++i) all.push_back({names_[i], masters_.tensors()[i]});
  return all;
}

std::vector<StateTensor> Optimizer::state() const {
  std::vector<StateTensor> all;
  for (size_t i = 0; i < names_.size(); ++i) {
    all.push_back({"first_moment", names_[i], adamw_.first_moments()[i]});
    all.push_back({"second_moment", names_[i], adamw_.second_moments()[i]});
  }
  return all;
}

void Optimizer::resume_at(int64_t updates) {
  adamw_.set_updates(updates);
  masters_.publish();
}

}  // namespace optim
