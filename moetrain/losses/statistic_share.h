// defines: share_of_statistic: a loss that is not linear in the tokens
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/comm/communicator.h"

namespace moetrain {

/// A loss f(S) of a statistic S that is a sum over all ranks' tokens. S is all-reduced without gradient; this rank's
/// share is f(S) / ranks in value, and f'(S) . (gradient of the local part of S) in gradient, so that the shares add
/// up to f(S) and their gradients to its gradient. Collective.
at::Tensor share_of_statistic(const at::Tensor& local, parallel::Communicator& group,
                              at::Tensor (*function)(const at::Tensor& global));

}  // namespace moetrain
