#include "moetrain/routers/capacity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "moetrain/moe/expert_kinds.h"
#include "moetrain/routers/draws.h"
#include "moetrain/routers/drop_rules.h"

namespace moetrain {
namespace {

/// How often each expert is chosen at each rank of choice: [K, E].
at::Tensor count_choices(const at::Tensor& chosen_TK, int64_t experts) {
  const int64_t top_k = chosen_TK.size(1);
  const at::Tensor place_K = at::arange(top_k, chosen_TK.options()) * experts;
  return at::bincount((chosen_TK + place_K).flatten(), {}, top_k * experts).view({top_k, experts});
}

int64_t drop_by_priority(at::Tensor& expert_TK, const Choices& chosen, const MoeConfig& config,
                         const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  at::Tensor priority_TK = chosen.probability_TK.to(at::kCPU, at::kDouble);
  if (config.drop == "random") {
    const parallel::RandomStream stream = scope.draws.stream("random token selection", context.layer);
    priority_TK =
        uniform_draws(stream, scope.first_token * expert_TK.size(1), expert_TK.sizes(), at::TensorOptions(at::kDouble));
  }
  return drop_lowest(expert_TK, priority_TK, expert_kinds(config).total(), expert_capacity(config, scope.global_tokens),
                     scope.group, chosen.expert_TK.device());
}

}  // namespace

int64_t expert_capacity(const MoeConfig& config, int64_t global_tokens) {
  const double even_share =
      static_cast<double>(config.top_k * global_tokens) / static_cast<double>(expert_kinds(config).total());
  const double capacity = std::ceil(config.capacity_factor * even_share);
  return std::max<int64_t>(1, static_cast<int64_t>(std::min(capacity, static_cast<double>(global_tokens))));
}

CapacityOutcome apply_capacity(const Choices& chosen, const MoeConfig& config, const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  at::Tensor local_KE = count_choices(chosen.expert_TK, expert_kinds(config).total());
  if (config.capacity == "dropless" || !scope.training) {
    scope.group.all_reduce(local_KE, parallel::ReduceOp::kSum).wait();
    return {.expert_TK = chosen.expert_TK, .global_choices_KE = local_KE};
  }
  at::Tensor gathered_RKE = at::empty({scope.group.size(), local_KE.size(0), local_KE.size(1)}, local_KE.options());
  scope.group.all_gather(gathered_RKE, local_KE).wait();
  const at::Tensor total_KE = gathered_RKE.sum(0);
  at::Tensor expert_TK = chosen.expert_TK.to(at::kCPU, at::kLong, /*non_blocking=*/false, /*copy=*/true);
  int64_t dropped = 0;
  if (config.drop == "position") {
    // Before choice rank j of this rank's tokens come all ranks' choices of smaller rank, then earlier ranks' choices.
    const at::Tensor smaller_KE = total_KE.cumsum(0) - total_KE;
    const at::Tensor earlier_KE = gathered_RKE.narrow(0, 0, scope.group.rank()).sum(0);
    dropped =
        drop_late(expert_TK, (smaller_KE + earlier_KE).to(at::kCPU), expert_capacity(config, scope.global_tokens));
  } else {
    dropped = drop_by_priority(expert_TK, chosen, config, context);
  }
  return {.expert_TK = expert_TK.to(chosen.expert_TK.device()), .global_choices_KE = total_KE, .dropped = dropped};
}

}  // namespace moetrain
