// defines: to_summable
#pragma once
#include <ATen/ATen.h>

namespace parallel {

/// Contiguous and in at least float32: sums over ranks in low precision would be rounded once for each rank.
inline at::Tensor to_summable(const at::Tensor& tensor) {
  const at::ScalarType wide = tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return tensor.to(wide).contiguous();
}

}  // namespace parallel
