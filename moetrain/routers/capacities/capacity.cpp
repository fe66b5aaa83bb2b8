#include "moetrain/routers/capacities/capacity.h"

#include <ATen/ATen.h>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/capacities/drop_rules.h"
#include "moetrain/routers/draws.h"
#include "parallel/device/accelerator.h"

namespace moetrain {
namespace {

/// How often each expert is chosen at each rank of choice: [K, E].
at::Tensor count_choices(const at::Tensor& chosen_TK, int64_t experts) {
  const int64_t top_k = chosen_TK.size(1);
  if (!parallel::is_accelerator(chosen_TK.device())) {
    at::Tensor counts_KE = at::zeros({top_k, experts}, chosen_TK.options());
    auto counted = counts_KE.accessor<int64_t, 2>();
    const auto chosen = chosen_TK.accessor<int64_t, 2>();
    for (int64_t t = 0; t < chosen.size(0); ++t) {
      for (int64_t k = 0; k < top_k; ++k) {
        if (chosen[t][k] >= 0) ++counted[k][chosen[t][k]];
      }
    }
    return counts_KE;
  }
  const at::Tensor place_K = at::arange(top_k, chosen_TK.options()) * experts;
  const at::Tensor place_TK = (chosen_TK + place_K).masked_fill(chosen_TK < 0, top_k * experts);  // no choice: behind
  // Not bincount, which on a GPU has the host wait for the largest.
  const at::Tensor place = place_TK.flatten();
  const at::Tensor counts =
      at::zeros({top_k * experts + 1}, place.options()).scatter_add_(0, place, at::ones_like(place));
  return counts.narrow(0, 0, top_k * experts).view({top_k, experts});
}

int64_t drop_by_priority(at::Tensor& expert_TK, const Choices& chosen, const std::vector<int64_t>& capacity_E,
                         const MoeConfig& config, const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  Priorities priorities{chosen.probability_TK.to(at::kCPU, at::kDouble),
                        tie_bound(chosen.probability_TK.scalar_type())};
  if (config.own<BoundConfig>().drop == Drop::kRandom) {
    const parallel::RandomStream stream = scope.draws.stream("random token selection", context.layer);
    const int64_t first = scope.first_token * expert_TK.size(1);
    priorities = {uniform_draws(stream, first, expert_TK.sizes(), at::TensorOptions(at::kDouble))};
  }
  return drop_lowest(expert_TK, priorities, capacity_E, scope.group, chosen.expert_TK.device());
}

}  // namespace

CapacityOutcome apply_capacity(const Choices& chosen, const MoeConfig& config, const CapacityRule& rule,
                               const RoutingContext& context) {
  const auto& bound = config.own<BoundConfig>();
  const BatchScope& scope = context.scope;
  at::Tensor local_KE = count_choices(chosen.expert_TK, expert_kinds(config).total());
  const double factor = scope.training ? bound.factor : bound.evaluation;
  if (!rule.bounds() || factor == 0) {
    scope.group.all_reduce(local_KE, parallel::ReduceOp::kSum).wait();
    return {.expert_TK = chosen.expert_TK, .global_choices_KE = local_KE};
  }
  at::Tensor gathered_RKE = at::empty({scope.group.size(), local_KE.size(0), local_KE.size(1)}, local_KE.options());
  scope.group.all_gather(gathered_RKE, local_KE).wait();
  const at::Tensor total_KE = gathered_RKE.sum(0);
  at::Tensor expert_TK = chosen.expert_TK.to(at::kCPU, at::kLong, /*non_blocking=*/false, /*copy=*/true);
  const std::vector<int64_t> capacity_E = rule.capacities(config, scope.global_tokens, factor);
  int64_t dropped = 0;
  if (bound.drop == Drop::kPosition) {
    // Before choice rank j of this rank's tokens come all ranks' choices of smaller rank, then earlier ranks' choices.
    const at::Tensor smaller_KE = total_KE.cumsum(0) - total_KE;
    const at::Tensor earlier_KE = gathered_RKE.narrow(0, 0, scope.group.rank()).sum(0);
    dropped = drop_late(expert_TK, (smaller_KE + earlier_KE).to(at::kCPU), capacity_E);
  } else {
    dropped = drop_by_priority(expert_TK, chosen, capacity_E, config, context);
  }
  return {.expert_TK = parallel::send(expert_TK, chosen.expert_TK.device()),
          .global_choices_KE = total_KE,
          .dropped = dropped};
}

}  // namespace moetrain
