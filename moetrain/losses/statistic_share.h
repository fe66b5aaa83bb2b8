// Losses that are not linear in the tokens. defines: share_of_statistic, local_mean, bytes_of_each_expert
#pragma once
#include "moetrain/losses/router_loss.h"

namespace moetrain {

/// A loss f(S) of a statistic S that is a sum over all ranks' tokens. S is all-reduced without gradient; this rank's
/// share is f(S) / ranks in value, and f'(S) . (gradient of the local part of S) in gradient, so that the shares add
/// up to f(S) and their gradients to its gradient. Collective.
at::Tensor share_of_statistic(const at::Tensor& local, parallel::Communicator& group,
                              at::Tensor (*function)(const at::Tensor& global));

/// A statistic: what this rank's tokens add to the mean probabilities over the N tokens of the global micro-batch, [E].
at::Tensor local_mean(const RoutingDecision& decision, const BatchScope& scope);

/// RouterLoss::summed_bytes of a statistic with one number for each expert.
int64_t bytes_of_each_expert(const MoeConfig& config, const LossSizes& sizes);

}  // namespace moetrain
