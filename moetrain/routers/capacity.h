// defines: apply_capacity, CapacityOutcome
#pragma once
#include <ATen/core/Tensor.h>

#include "moetrain/layers/batch_scope.h"
#include "moetrain/moe/moe_config.h"

namespace moetrain {

struct CapacityOutcome {
  at::Tensor expert_TK;         // the choices, kDropped where an expert was full
  at::Tensor global_choices_E;  // int64, before any drop
  int64_t dropped = 0;          // of this rank's choices
};

/// How many choices one expert takes: ceil(factor * top_k * global_tokens / experts), at least 1.
int64_t expert_capacity(const MoeConfig& config, int64_t global_tokens);

/// Counts the choices over the global micro-batch and, with capacity = factor and in training, drops what exceeds an
/// expert's capacity: all first choices come before all second ones, each in global token order (GShard, Lepikhin et
/// al. 2021, over the whole micro-batch instead of a device's part of it). Evaluation never drops.
/// Collective over the scope's group.
CapacityOutcome apply_capacity(const at::Tensor& chosen_TK, const MoeConfig& config, const BatchScope& scope);

}  // namespace moetrain
