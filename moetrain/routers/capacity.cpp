#include "moetrain/routers/capacity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel/dispatch/assignment.h"

namespace moetrain {
namespace {

/// How often each expert is chosen at each rank of choice: [K, E].
at::Tensor count_choices(const at::Tensor& chosen_TK, int64_t experts) {
  const int64_t top_k = chosen_TK.size(1);
  const at::Tensor place_K = at::arange(top_k, chosen_TK.options()) * experts;
  return at::bincount((chosen_TK + place_K).flatten(), {}, top_k * experts).view({top_k, experts});
}

/// Drops on the host, where the walk in global order is a plain loop. taken_KE: queue length of expert e, before
/// this rank's first token, among choices of rank j; it is consumed.
int64_t drop_overflow(at::Tensor& expert_TK, at::Tensor taken_KE, int64_t capacity) {
  auto expert = expert_TK.accessor<int64_t, 2>();
  auto taken = taken_KE.accessor<int64_t, 2>();
  int64_t dropped = 0;
  for (int64_t j = 0; j < expert.size(1); ++j) {
    for (int64_t t = 0; t < expert.size(0); ++t) {
      if (taken[j][expert[t][j]]++ < capacity) continue;
      expert[t][j] = parallel::Assignment::kDropped;
      ++dropped;
    }
  }
  return dropped;
}

}  // namespace

int64_t expert_capacity(const MoeConfig& config, int64_t global_tokens) {
  const double even_share = static_cast<double>(config.top_k * global_tokens) / static_cast<double>(config.experts);
  const double capacity = std::ceil(config.capacity_factor * even_share);
  return std::max<int64_t>(1, static_cast<int64_t>(std::min(capacity, static_cast<double>(global_tokens))));
}

CapacityOutcome apply_capacity(const at::Tensor& chosen_TK, const MoeConfig& config, const BatchScope& scope) {
  const at::Tensor local_KE = count_choices(chosen_TK, config.experts);
  if (config.capacity == "dropless" || !scope.training) {
    at::Tensor global_E = local_KE.sum(0);
    scope.group.all_reduce(global_E, parallel::ReduceOp::kSum).wait();
    return {.expert_TK = chosen_TK, .global_choices_E = global_E};
  }
  at::Tensor gathered_RKE = at::empty({scope.group.size(), local_KE.size(0), local_KE.size(1)}, local_KE.options());
  scope.group.all_gather(gathered_RKE, local_KE).wait();
  const at::Tensor total_KE = gathered_RKE.sum(0);
  // Before choice rank j of this rank's tokens come all ranks' choices of smaller rank, then earlier ranks' choices.
  const at::Tensor smaller_KE = total_KE.cumsum(0) - total_KE;
  const at::Tensor earlier_KE = gathered_RKE.narrow(0, 0, scope.group.rank()).sum(0);
  at::Tensor expert_TK = chosen_TK.to(at::kCPU, at::kLong, /*non_blocking=*/false, /*copy=*/true);
  const int64_t dropped =
      drop_overflow(expert_TK, (smaller_KE + earlier_KE).to(at::kCPU), expert_capacity(config, scope.global_tokens));
  return {.expert_TK = expert_TK.to(chosen_TK.device()), .global_choices_E = total_KE.sum(0), .dropped = dropped};
}

}  // namespace moetrain
