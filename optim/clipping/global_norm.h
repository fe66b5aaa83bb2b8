// defines: sum_of_squares, global_norm, clip_scale
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace optim {

/// Over all tensors: the norm of each in its own precision, the sum over tensors in float64.
double sum_of_squares(const std::vector<at::Tensor>& tensors);
/// Its square root.
double global_norm(const std::vector<at::Tensor>& tensors);

/// The factor that brings `norm` down to `largest`; 1 where it is small enough or `largest` is 0 (no clipping).
double clip_scale(double norm, double largest);

}  // namespace optim
