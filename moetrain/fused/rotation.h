// defines: rotate_pairs
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

/// Each pair (a, b) of a head becomes (a cos - b sin, b cos + a sin), of its position and its number among the pairs:
/// [S, H, L, d], [L, d / 2], [L, d / 2] -> [S, H, L, d]; or [S, 1, L, d / 2], where sequences differ in position. Pairs
/// are (i, i + d / 2), or neighbours. Differentiable in x.
at::Tensor rotate_pairs(const at::Tensor& x_SHLd, const at::Tensor& cos_Lh, const at::Tensor& sin_Lh, bool neighbours);

}  // namespace moetrain
