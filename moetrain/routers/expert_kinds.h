// defines: ExpertKinds, expert_kinds: how many experts of each kind a router chooses from, and in which order
#pragma once
#include "moetrain/moe/moe_config.h"

namespace moetrain {

/// The order in which a router numbers them is that of the members (MoE++'s; nulls last): feed-forwards 0 to ffn - 1,
/// then constants, and so on.
struct ExpertKinds {
  int64_t ffn = 0;
  int64_t constant = 0;  // a learned constant mixed with the token (MoE++)
  int64_t copy = 0;      // the token itself (MoE++)
  int64_t zero = 0;      // nothing (MoE++)
  int64_t null = 0;      // nothing, and balanced as a whole (AdaMoE)

  int64_t total() const { return true_experts() + zero + null; }
  /// Those that put anything out; they come first.
  int64_t true_experts() const { return ffn + constant + copy; }
  /// Those without a feed-forward; they come last.
  int64_t zero_computation() const { return total() - ffn; }
};

inline ExpertKinds expert_kinds(const MoeConfig& config) {
  return {config.experts, config.constant_experts, config.copy_experts, config.zero_experts, config.null_experts};
}

}  // namespace moetrain
