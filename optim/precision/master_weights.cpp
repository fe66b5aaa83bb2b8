#include "optim/precision/master_weights.h"

#include <ATen/ATen.h>

#include <utility>

namespace optim {

MasterWeights::MasterWeights(std::vector<at::Tensor> parameters) : parameters_(std::move(parameters)) {
  for (const at::Tensor& parameter : parameters_) {
    const bool low = parameter.scalar_type() != at::kFloat && parameter.scalar_type() != at::kDouble;
    copies_ = copies_ || low;
    masters_.push_back(low ? parameter.detach().to(at::kFloat) : parameter.detach());
  }
}

void MasterWeights::publish() {
  if (!copies_) return;
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].copy_(masters_[i]);
}

}  // namespace optim
