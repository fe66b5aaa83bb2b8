// defines: global_norm, clip_scale
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace optim {

/// sqrt of the sum of squares over all tensors: each tensor in its own precision, the sum over tensors in float64.
double global_norm(const std::vector<at::Tensor>& tensors);

/// The factor that brings `norm` down to `largest`; 1 where it is small enough or `largest` is 0 (no clipping).
double clip_scale(double norm, double largest);

}  // namespace optim
