// defines: uniform_draws, normal_draws: tensors of draws by global index
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/base/random.h"

namespace moetrain {

// Element i (row-major) of the result is the stream's draw number first + i, in the options' dtype. Uniform ones
// are drawn by the device's own kernel where there is one; normal ones by a loop on the CPU and copied, for another
// library's logarithm and cosine would give other last bits.

/// In (0, 1), ends excluded.
at::Tensor uniform_draws(const parallel::RandomStream& stream, int64_t first, at::IntArrayRef shape,
                         const at::TensorOptions& options);
at::Tensor normal_draws(const parallel::RandomStream& stream, int64_t first, at::IntArrayRef shape,
                        const at::TensorOptions& options);

}  // namespace moetrain
