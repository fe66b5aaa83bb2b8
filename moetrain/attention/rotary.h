// defines: Rotary, positions as rotations of queries and keys
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "moetrain/attention/rope_scaling.h"

namespace moetrain {

/// Su et al. 2021, RoFormer, of the pairs that RopePairs names:
/// (a, b) -> (a cos - b sin, b cos + a sin) * scale, angle = position * frequency (rope_frequencies).
class Rotary {
 public:
  Rotary(RopeFrequencies frequencies, at::TensorOptions options, RopePairs pairs = RopePairs::kHalf);

  /// x_SHLd: sequences, heads, length, head_dim; the first place of the length is `first_position`.
  at::Tensor rotate(const at::Tensor& x_SHLd, int64_t first_position) const;
  /// The one place of each sequence that follows so many.
  at::Tensor rotate_next(const at::Tensor& x_SH1d, const std::vector<int64_t>& past_S) const;

 private:
  void grow(int64_t positions) const;

  RopeFrequencies frequencies_;
  RopePairs pairs_;
  at::TensorOptions options_;
  mutable at::Tensor cos_Ph_, sin_Ph_;  // [positions so far, head_dim / 2], a cache
};

}  // namespace moetrain
