// defines: sum_over_ranks: an all-reduce with a gradient
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/comm/communicator.h"

namespace parallel {

/// The sum of all ranks' `local`. Its gradient is the sum over ranks of the gradients that reach their copies of the
/// sum: right where the loss is the sum of the ranks' shares. Where `local` needs a gradient on any rank it must on
/// all, and every rank's share must depend on the sum (if only with a factor 0): backward is collective too.
/// `group` outlives the graph. Collective. @pre float32 or float64
at::Tensor sum_over_ranks(const at::Tensor& local, Communicator& group);

}  // namespace parallel
