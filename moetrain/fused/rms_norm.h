// defines: rms_norm
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

/// x weight / sqrt(mean over the last dim of x^2 + epsilon) (Zhang and Sennrich 2019): [..., D], [D] -> [..., D].
/// Differentiable; keeps its output, which the layer behind keeps too, and of 16 bits, or where a weight is next to 0,
/// x in its place.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double epsilon);

}  // namespace moetrain
