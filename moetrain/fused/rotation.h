// defines: rotate_pairs, has_rotation_at, rotate_pairs_at
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace moetrain {

/// Each pair (a, b) of a head becomes (a cos - b sin, b cos + a sin), of its position and its number among the pairs:
/// [S, H, L, d], [L, d / 2], [L, d / 2] -> [S, H, L, d]; or [S, 1, L, d / 2], where sequences differ in position. Pairs
/// are (i, i + d / 2), or neighbours. Differentiable in x.
at::Tensor rotate_pairs(const at::Tensor& x_SHLd, const at::Tensor& cos_Lh, const at::Tensor& sin_Lh, bool neighbours);

/// Without gradient, of sequences whose positions begin at place_S of the tables, as they stand there:
/// [S, H, L, d], [P, d / 2], [P, d / 2]. Whether it is for such tensors: on the processor, gradients off.
bool has_rotation_at(const at::Tensor& x_SHLd, const at::Tensor& cos_Ph);
at::Tensor rotate_pairs_at(const at::Tensor& x_SHLd, const at::Tensor& cos_Ph, const at::Tensor& sin_Ph,
                           const std::vector<int64_t>& place_S, bool neighbours);

}  // namespace moetrain
