// defines: select_top_k
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

/// The K largest entries of each row, largest first; equal ones in order of their index, on every device.
/// [T, E] -> int64 [T, K]
at::Tensor select_top_k(const at::Tensor& scores_TE, int64_t top_k);

}  // namespace moetrain
