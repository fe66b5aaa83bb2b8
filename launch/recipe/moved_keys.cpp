#include "launch/recipe/moved_keys.h"

#include <algorithm>
#include <array>

namespace launch {
namespace {

constexpr std::array kMoved{
    MovedKey{"moe.balance_choices", "moe.load_balance.choices"},
    MovedKey{"moe.balance_kind_weight", "moe.load_balance.kind_weight"},
    MovedKey{"moe.balance_over", "moe.load_balance.over"},
    MovedKey{"moe.balance_per_choice", "moe.load_balance.per_choice"},
    MovedKey{"moe.bias_rate", "moe.sigmoid_bias.bias_rate"},
    MovedKey{"moe.capacity_evaluation", "moe.bound.evaluation"},
    MovedKey{"moe.capacity_factor", "moe.bound.factor"},
    MovedKey{"moe.capacity_minimum", "moe.bound.minimum"},
    MovedKey{"moe.capacity_tau", "moe.by_kind.tau"},
    MovedKey{"moe.concentration", "moe.losses.concentration"},
    MovedKey{"moe.cosine_width", "moe.cosine.width"},
    MovedKey{"moe.drop", "moe.bound.drop"},
    MovedKey{"moe.entropy", "moe.losses.entropy"},
    MovedKey{"moe.groups", "moe.sigmoid_bias.groups"},
    MovedKey{"moe.importance", "moe.losses.importance"},
    MovedKey{"moe.load", "moe.losses.load"},
    MovedKey{"moe.load_balance", "moe.losses.load_balance"},
    MovedKey{"moe.mlp_activation", "moe.mlp.activation"},
    MovedKey{"moe.mlp_hidden", "moe.mlp.hidden"},
    MovedKey{"moe.mutual_information", "moe.losses.mutual_information"},
    MovedKey{"moe.router_z", "moe.losses.router_z"},
    MovedKey{"moe.sinkhorn_iterations", "moe.sinkhorn.iterations"},
    MovedKey{"moe.sinkhorn_tolerance", "moe.sinkhorn.tolerance"},
    MovedKey{"moe.slots", "moe.soft.slots"},
    MovedKey{"moe.stochastic", "moe.thor.granularity"},
    MovedKey{"moe.stochastic_inference", "moe.thor.inference"},
    MovedKey{"moe.top_groups", "moe.sigmoid_bias.top_groups"},
    MovedKey{"objective.consistency", "objective.two_pass.consistency"},
    MovedKey{"objective.distillation", "objective.distillation.weight"},
    MovedKey{"objective.teacher", "objective.distillation.teacher"},
    MovedKey{"objective.temperature", "objective.distillation.temperature"},
    MovedKey{"schedule.decay", "schedule.warmup_stable_decay.decay"},
};

}  // namespace

const MovedKey* moved_key(const std::string& name) {
  const auto found = std::ranges::find(kMoved, name, &MovedKey::was);
  return found == kMoved.end() ? nullptr : found;
}

}  // namespace launch
