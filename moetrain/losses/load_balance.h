// defines: load_balance_share
#pragma once
#include "moetrain/config/moe_config.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

/// This rank's share of L = (E / K) sum over e of eta_e f_e p_e, with f_e the fraction of tokens that choose e before
/// drops (a count: no gradient; sums to K) and p_e the mean probability of e. 1 at perfect balance where all eta are 1.
/// Given f it is linear in the tokens, so the shares add up exactly. The config's options:
/// balance_choices = all (Switch Transformer, Fedus et al. 2022, eq. 4, for top-k), or first: f_e counts first choices
/// and K is 1 (GShard, Lepikhin et al. 2021).
/// balance_per_choice = false: without 1 / K (Mixtral's code).
/// balance_over = micro_batch: f and p over the N tokens of the global micro-batch; sequence: both within each
/// sequence, which may lie on several ranks, then the mean over sequences (DeepSeek-V3, eq. 17-20); global_batch: f
/// over the global micro-batches of this update up to this one (context.scope.earlier_choices), p over this one (Qiu et
/// al. 2025, "Demons in the detail").
/// balance_kind_weight: eta of zero-computation experts; feed-forwards have 1 (MoE++, Jin et al. 2024, whose tau this
/// is; the factor E / K is kept there too, inferred). Null experts share the mean of their f, so that only their total
/// is balanced (AdaMoE, Zeng et al. 2024). Collective over the scope's group where balance_over is sequence.
at::Tensor load_balance_share(const RoutingDecision& decision, const MoeConfig& config, const RoutingContext& context);

}  // namespace moetrain
