// defines: load_balance_share, LoadBalanceConfig, BalanceChoices, BalanceOver, load_balance_loss
#pragma once
#include <array>

#include "moetrain/losses/router_loss.h"

namespace moetrain {

/// What is counted of a token's choices, and over what.
enum class BalanceChoices { kAll, kFirst };
constexpr std::array<const char*, 2> names_of(BalanceChoices) { return {"all", "first"}; }
enum class BalanceOver { kMicroBatch, kSequence, kGlobalBatch };
constexpr std::array<const char*, 3> names_of(BalanceOver) { return {"micro_batch", "sequence", "global_batch"}; }

/// [moe.load_balance]
struct LoadBalanceConfig {
  parallel::Enum<BalanceChoices> choices = BalanceChoices::kAll;
  parallel::Enum<BalanceOver> over = BalanceOver::kMicroBatch;
  bool per_choice = true;
  double kind_weight = 1.0;
};

template <class Visitor>
void visit(LoadBalanceConfig& config, Visitor& field) {
  using namespace parallel;
  field("choices", config.choices, anything(), "count all choices, or first choices only (as GShard)");
  field("over", config.over, anything(),
        "count within the micro-batch, within each sequence (DeepSeek-V3), or over the update's micro-batches so far");
  field("per_choice", config.per_choice, anything(),
        "divide by top_k, so that balance is 1; false: balance is top_k, as Mixtral's code");
  field("kind_weight", config.kind_weight, at_least(0),
        "weigh zero-computation experts by this and feed-forwards by 1; MoE++: 0.75");
}

/// This rank's share of L = (E / K) sum over e of eta_e f_e p_e, with f_e the fraction of tokens that choose e before
/// drops (a count: no gradient; sums to K) and p_e the mean probability of e. 1 at perfect balance where all eta are 1.
/// Given f it is linear in the tokens, so the shares add up exactly. LoadBalanceConfig's options:
/// choices = all (Switch Transformer, Fedus et al. 2022, eq. 4, for top-k), or first: f_e counts first choices
/// and K is 1 (GShard, Lepikhin et al. 2021).
/// per_choice = false: without 1 / K (Mixtral's code).
/// over = micro_batch: f and p over the N tokens of the global micro-batch; sequence: both within each
/// sequence, which may lie on several ranks, then the mean over sequences (DeepSeek-V3, eq. 17-20); global_batch: f
/// over the global micro-batches of this update up to this one (context.scope.earlier_choices), p over this one (Qiu et
/// al. 2025, "Demons in the detail").
/// kind_weight: eta of zero-computation experts; feed-forwards have 1 (MoE++, Jin et al. 2024, whose tau this
/// is; the factor E / K is kept there too, inferred). Null experts share the mean of their f, so that only their total
/// is balanced (AdaMoE, Zeng et al. 2024). Collective over the scope's group where `over` is sequence.
at::Tensor load_balance_share(const RoutingDecision& decision, const MoeConfig& config, const RoutingContext& context);

/// The row of the table.
RouterLoss load_balance_loss();

}  // namespace moetrain
