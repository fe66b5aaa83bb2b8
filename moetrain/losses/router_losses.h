// defines: load_balance_share, router_z_share, router_entropy_share: what is read off one RoutingDecision
#pragma once
#include "moetrain/routers/router.h"

namespace moetrain {

// N tokens of the global micro-batch; each function gives this rank's share, a scalar

/// Switch Transformer (Fedus et al. 2022, eq. 4) for top-k: (E / K) sum over e of f_e p_e, with f_e the fraction of
/// the N tokens that choose e (a count: no gradient; sums to K) and p_e the mean probability of e, both over the
/// global micro-batch. 1 at perfect balance. Given f it is linear in the tokens, so the shares add up exactly.
at::Tensor load_balance_share(const RoutingDecision& decision, const BatchScope& scope);

/// ST-MoE (Zoph et al. 2022, eq. 5): mean over the N tokens of logsumexp(logits)^2.
at::Tensor router_z_share(const RoutingDecision& decision, const BatchScope& scope);

/// Mean over the N tokens of the entropy of the router's softmax [nats]; a metric, without gradient.
at::Tensor router_entropy_share(const RoutingDecision& decision, const BatchScope& scope);

}  // namespace moetrain
