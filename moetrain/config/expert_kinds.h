// defines: ExpertKinds, expert_kinds, weight_sets, weight_sets_word, ExpertKind, expert_kind_table: how many experts of
// each kind a layer has
#pragma once
#include <array>
#include <cstdint>

#include "moetrain/config/moe_config.h"

namespace moetrain {

/// How many experts of each kind one layer has. The router numbers them in this order, MoE++'s with the nulls behind:
/// FFN..., constants, copies, zeros, nulls.
struct ExpertKinds {
  int64_t ffn = 0, constant = 0, copy = 0, zero = 0, null = 0;

  int64_t total() const;
  /// Those that may give more than 0; they come first.
  int64_t true_experts() const { return ffn + constant + copy; }
  /// Those without a feed-forward, which are never dispatched; they come last.
  int64_t zero_computation() const { return total() - ffn; }
};

/// One kind: a row of the table.
struct ExpertKind {
  const char* name;
  int64_t ExpertKinds::*count;
};

/// In router order. "ffn" is dispatched; the others are computed where the token is (LocalExperts).
const std::array<ExpertKind, 5>& expert_kind_table();

/// Of one layer's config. @pre experts_by_layer is empty, as layer_configs leaves it
ExpertKinds expert_kinds(const MoeConfig& config);

/// How many sets of weights the routed experts of one layer have: as many as experts, or fewer where some share theirs.
/// UserError naming expert_weights: not one number for each expert, or a set without an expert.
int64_t weight_sets(const MoeConfig& config);
/// What is shared out of them over ranks, in words.
const char* weight_sets_word(const MoeConfig& config);

/// The router's number of the first expert of a kind.
int64_t first_of_kind(const ExpertKinds& kinds, int64_t ExpertKinds::*count);

}  // namespace moetrain
