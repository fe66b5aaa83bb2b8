// defines: AdamW, adamw_rule
#pragma once
#include <vector>

#include "optim/updates/update.h"

namespace optim {

/// AdamW (Loshchilov and Hutter 2019) by LibTorch's fused kernel; no communication.
/// m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w), with m^, v^ corrected
/// for their start at 0, which may be a later one than the run's (Parameter::begun). Tensors of one dim or none (norms,
/// gains) are not decayed. Slots: first_moment, second_moment.
class AdamW : public Update {
 public:
  AdamW(std::vector<Parameter> parameters, const OptimizerConfig& config);
  void step(const std::vector<at::Tensor>& gradients, const UpdateStep& step) override;

 private:
  OptimizerConfig config_;
};

UpdateRule adamw_rule();

}  // namespace optim
