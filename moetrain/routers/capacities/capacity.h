// defines: apply_capacity, CapacityOutcome, Choices
#pragma once
#include "moetrain/routers/capacities/capacity_rules.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

struct Choices {
  at::Tensor expert_TK;       // int64, distinct in a row; kDropped: no choice
  at::Tensor probability_TK;  // of each choice, without gradient
};

struct CapacityOutcome {
  at::Tensor expert_TK;          // the choices, kDropped where an expert was full
  at::Tensor global_choices_KE;  // int64, of each rank of choice, before any drop
  int64_t dropped = 0;           // of this rank's choices
};

/// Counts the choices over the global micro-batch and, where the rule bounds an expert, drops what exceeds its
/// capacity, by BoundConfig::drop:
/// position: all first choices come before all second ones, each in global token order (GShard, Lepikhin et al. 2021,
/// over the whole micro-batch instead of a device's part of it); probability: the most probable choices stay, ties by
/// position; random: choices drawn uniformly stay (random token selection of Z-code M3, Kim et al. 2021).
/// Evaluation and decoding drop only where BoundConfig::evaluation, their factor, is above 0 (Switch: 2.0).
/// Collective over the scope's group.
CapacityOutcome apply_capacity(const Choices& chosen, const MoeConfig& config, const CapacityRule& rule,
                               const RoutingContext& context);

}  // namespace moetrain
