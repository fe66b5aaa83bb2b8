// defines: has_loops: for which tensors the loops of kernels/ are
#pragma once
#include <ATen/core/Tensor.h>

namespace parallel {

/// On the processor, in float32 or float64; others are LibTorch's.
inline bool has_loops(const at::Tensor& tensor) {
  return tensor.is_cpu() && (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble);
}

}  // namespace parallel
