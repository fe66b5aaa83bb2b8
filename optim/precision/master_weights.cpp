#include "optim/precision/master_weights.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/device/accelerator.h"

namespace optim {

MasterWeights::MasterWeights(std::vector<at::Tensor> parameters, bool offload) : parameters_(std::move(parameters)) {
  for (const at::Tensor& parameter : parameters_) {
    const bool low = parameter.scalar_type() != at::kFloat && parameter.scalar_type() != at::kDouble;
    const at::Tensor weight = low ? parameter.detach().to(at::kFloat) : parameter.detach();
    masters_.push_back(offload ? weight.to(at::kCPU, weight.scalar_type(), /*non_blocking=*/false, /*copy=*/true)
                               : weight);
    copies_ = copies_ || low || offload;
  }
}

void MasterWeights::publish() {
  if (!copies_) return;
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < parameters_.size(); ++i) parallel::send_into(parameters_[i], masters_[i]);
}

}  // namespace optim
