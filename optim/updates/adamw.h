// defines: AdamW, the update of one list of tensors
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "optim/updates/adamw_config.h"

namespace optim {

/// AdamW by LibTorch's fused kernel, on float32 or float64 tensors; no communication.
/// m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w), with m^, v^ corrected
/// for their start at 0. Tensors of one dim or none (norms, gains) are not decayed.
class AdamW {
 public:
  AdamW(std::vector<at::Tensor> weights, const AdamwConfig& config);

  /// `gradient_scale` multiplies the gradients inside the kernel (clipping).
  void step(const std::vector<at::Tensor>& gradients, double learning_rate, double gradient_scale);

  const std::vector<at::Tensor>& first_moments() const { return first_; }
  const std::vector<at::Tensor>& second_moments() const { return second_; }
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 private:
  AdamwConfig config_;
  std::vector<at::Tensor> weights_, first_, second_;
  int64_t updates_ = 0;
};

}  // namespace optim
