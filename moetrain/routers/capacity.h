// defines: apply_capacity, expert_capacities, CapacityOutcome, Choices
#pragma once
#include <vector>

#include "moetrain/config/moe_config.h"
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

/// How many choices each expert takes, at least config.capacity_minimum (and at most the tokens, above which none is
/// needed). N tokens of the global micro-batch, k = top_k:
/// factor: ceil(factor * k * N / E).
/// by_kind: for a feed-forward ceil(factor * tau * k * N / (tau * E_F + E_Z)), for one of the E_Z zero-computation
/// experts ceil(factor * k * N / (tau * E_F + E_Z)) (MoE++, Jin et al. 2024, from memory of the paper).
std::vector<int64_t> expert_capacities(const MoeConfig& config, int64_t global_tokens, double factor);

/// Counts the choices over the global micro-batch and, where capacity is bounded, drops what exceeds an expert's
/// capacity, by config.drop:
/// position: all first choices come before all second ones, each in global token order (GShard, Lepikhin et al. 2021,
/// over the whole micro-batch instead of a device's part of it); probability: the most probable choices stay, ties by
/// position; random: choices drawn uniformly stay (random token selection of Z-code M3, Kim et al. 2021).
/// Evaluation and decoding drop only where config.capacity_evaluation, their factor, is above 0 (Switch: 2.0).
/// Collective over the scope's group.
CapacityOutcome apply_capacity(const Choices& chosen, const MoeConfig& config, const RoutingContext& context);

}  // namespace moetrain
