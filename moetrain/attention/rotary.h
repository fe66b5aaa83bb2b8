// defines: Rotary, positions as rotations of queries and keys
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

/// Su et al. 2021, RoFormer, in the half-split pairing (dim i with i + head_dim / 2) of Llama and Mixtral:
/// (a, b) -> (a cos - b sin, b cos + a sin), angle = position * theta^(-2 i / head_dim).
class Rotary {
 public:
  /// @pre head_dim is even
  Rotary(int64_t head_dim, double theta, at::TensorOptions options);

  /// x_SHLd: sequences, heads, length, head_dim; the first place of the length is `first_position`.
  at::Tensor rotate(const at::Tensor& x_SHLd, int64_t first_position) const;

 private:
  void grow(int64_t positions) const;

  int64_t head_dim_;
  double theta_;
  at::TensorOptions options_;
  mutable at::Tensor cos_Ph_, sin_Ph_;  // [positions so far, head_dim / 2], a cache
};

}  // namespace moetrain
