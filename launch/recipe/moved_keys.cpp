#include "launch/recipe/moved_keys.h"

#include <algorithm>
#include <array>

namespace launch {
namespace {

constexpr std::array kMoved{
    MovedKey{"moe.bias_rate", "moe.sigmoid_bias.bias_rate"},
    MovedKey{"moe.cosine_width", "moe.cosine.width"},
    MovedKey{"moe.groups", "moe.sigmoid_bias.groups"},
    MovedKey{"moe.mlp_activation", "moe.mlp.activation"},
    MovedKey{"moe.mlp_hidden", "moe.mlp.hidden"},
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
};

}  // namespace

const MovedKey* moved_key(const std::string& name) {
  const auto found = std::ranges::find(kMoved, name, &MovedKey::was);
  return found == kMoved.end() ? nullptr : found;
}

}  // namespace launch
