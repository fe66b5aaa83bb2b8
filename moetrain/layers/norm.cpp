#include "moetrain/layers/norm.h"

#include <ATen/ATen.h>

#include "moetrain/fused/rms_norm.h"

namespace moetrain {

Norm::Norm(const ParameterSource& source, NormKind kind, int64_t dim, double epsilon) : kind_(kind), epsilon_(epsilon) {
  weight_ = register_parameter("weight", source.constant("weight", {dim}, 1.0));
  if (kind_ == NormKind::kLayer) bias_ = register_parameter("bias", source.constant("bias", {dim}, 0.0));
}

at::Tensor Norm::forward(const at::Tensor& input) const {
  if (kind_ == NormKind::kRms) return rms_norm(input, weight_, epsilon_);
  return at::layer_norm(input, weight_.sizes(), weight_, bias_, epsilon_);
}

}  // namespace moetrain
