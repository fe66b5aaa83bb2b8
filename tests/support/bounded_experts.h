// defines: bound_experts: experts that take so many tokens
#pragma once
#include "moetrain/routers/capacities/capacity_rules.h"

namespace moetrain {

inline void bound_experts(MoeConfig& config, double factor, parallel::Enum<Drop> drop = Drop::kPosition) {
  config.capacity = "factor";
  config.own<BoundConfig>() = {.factor = factor, .drop = drop};
}

}  // namespace moetrain
