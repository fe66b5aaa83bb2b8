// defines: rms_norm
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

/// x weight / sqrt(mean over the last dim of x^2 + epsilon) (Zhang and Sennrich 2019): [..., D], [D] -> [..., D].
/// Differentiable; keeps x.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double epsilon);

}  // namespace moetrain
