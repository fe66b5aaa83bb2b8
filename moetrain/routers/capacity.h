// defines: apply_capacity, expert_capacity, CapacityOutcome, Choices
#pragma once
#include "moetrain/moe/moe_config.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

struct Choices {
  at::Tensor expert_TK;       // int64, distinct in a row
  at::Tensor probability_TK;  // of each choice, without gradient
};

struct CapacityOutcome {
  at::Tensor expert_TK;          // the choices, kDropped where an expert was full
  at::Tensor global_choices_KE;  // int64, of each rank of choice, before any drop
  int64_t dropped = 0;           // of this rank's choices
};

/// How many choices one expert takes: ceil(factor * top_k * global_tokens / experts), at least 1.
int64_t expert_capacity(const MoeConfig& config, int64_t global_tokens);

/// Counts the choices over the global micro-batch and, with capacity = factor and in training, drops what exceeds an
/// expert's capacity, by config.drop:
/// position: all first choices come before all second ones, each in global token order (GShard, Lepikhin et al. 2021,
/// over the whole micro-batch instead of a device's part of it); probability: the most probable choices stay, ties by
/// position; random: choices drawn uniformly stay (random token selection of Z-code M3, Kim et al. 2021), here in
/// training only. Evaluation never drops. Collective over the scope's group.
CapacityOutcome apply_capacity(const Choices& chosen, const MoeConfig& config, const RoutingContext& context);

}  // namespace moetrain
