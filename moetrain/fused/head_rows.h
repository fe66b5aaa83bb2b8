// defines: head_rows
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/kernels/head_rows.h"

namespace moetrain {

/// data: of x_SHLd, whose last numbers lie side by side.
template <class Scalar>
parallel::HeadRows<Scalar> head_rows(Scalar* data, const at::Tensor& x_SHLd) {
  return {.data = data, .by_sequence = x_SHLd.stride(0), .by_head = x_SHLd.stride(1), .by_position = x_SHLd.stride(2)};
}

}  // namespace moetrain
