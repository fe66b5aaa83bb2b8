// defines: has_loops, has_wide_loops, with_loops, data_of, mutable_data_of: for which tensors the loops of kernels/ are
#pragma once
#include <ATen/core/Tensor.h>

#include <type_traits>

#include "parallel/base/fault.h"
#include "parallel/kernels/bfloat16.h"

namespace parallel {

/// On the processor, in float32 or float64: all loops of kernels/.
inline bool has_wide_loops(const at::Tensor& tensor) {
  return tensor.is_cpu() && (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble);
}

/// Or in bf16, for which those of training are. Others are LibTorch's.
inline bool has_loops(const at::Tensor& tensor) {
  return has_wide_loops(tensor) || (tensor.is_cpu() && tensor.scalar_type() == at::kBFloat16);
}

/// action.operator()<Scalar>() with what kernels/ call such numbers. @pre of a tensor that has loops
template <class Action>
void with_loops(at::ScalarType type, const Action& action) {
  if (type == at::kFloat) return action.template operator()<float>();
  if (type == at::kDouble) return action.template operator()<double>();
  check_internal(type == at::kBFloat16, "no loops for numbers of type ", type);
  action.template operator()<Bfloat16>();
}

/// A tensor's numbers as loops take them. @pre of that type
template <class Scalar>
const Scalar* data_of(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<Scalar, Bfloat16>) {
    return reinterpret_cast<const Bfloat16*>(tensor.const_data_ptr<at::BFloat16>());
  } else {
    return tensor.const_data_ptr<Scalar>();
  }
}
template <class Scalar>
Scalar* mutable_data_of(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<Scalar, Bfloat16>) {
    return reinterpret_cast<Bfloat16*>(tensor.mutable_data_ptr<at::BFloat16>());
  } else {
    return tensor.mutable_data_ptr<Scalar>();
  }
}

}  // namespace parallel
