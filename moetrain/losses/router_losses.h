// defines: router_losses and its terms, router_entropy_share: what is read off one RoutingDecision
#pragma once
#include "moetrain/losses/loss_terms.h"
#include "moetrain/moe/moe_config.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

// N tokens of the global micro-batch; each ..._share gives this rank's share, a scalar. A new loss is a function here,
// a weight in MoeConfig and a row in router_losses().

/// The losses whose weight is not 0, weighted. Collective over the scope's group.
LossTerms router_losses(const RoutingDecision& decision, const MoeConfig& config, const BatchScope& scope);

/// Switch Transformer (Fedus et al. 2022, eq. 4) for top-k: (E / K) sum over e of f_e p_e, with f_e the fraction of
/// the N tokens that choose e (a count: no gradient; sums to K) and p_e the mean probability of e, both over the
/// global micro-batch. 1 at perfect balance. Given f it is linear in the tokens, so the shares add up exactly.
at::Tensor load_balance_share(const RoutingDecision& decision, const BatchScope& scope);

/// The same with f_e the fraction whose first choice is e, and without 1 / K (GShard, Lepikhin et al. 2021).
at::Tensor first_choice_balance_share(const RoutingDecision& decision, const BatchScope& scope);

/// ST-MoE (Zoph et al. 2022, eq. 5): mean over the N tokens of logsumexp(logits)^2.
at::Tensor router_z_share(const RoutingDecision& decision, const BatchScope& scope);

/// Shazeer et al. 2017, eq. 6-7: CV^2 of the importance, the sum of an expert's gates over the N tokens (before drops).
/// CV^2 = var / (mean^2 + 1e-10), with the unbiased variance over the experts. Collective.
at::Tensor importance_share(const RoutingDecision& decision, const BatchScope& scope);

/// Shazeer et al. 2017, appendix A: CV^2 of the load, the sum over the N tokens of the probability that the expert is
/// among the K largest under fresh noise on its own logit: Phi((clean - threshold) / scale), with the threshold the
/// K-th largest of the other experts' noisy logits. @pre a router with learned noise, K < E. Collective.
at::Tensor load_share(const RoutingDecision& decision, const BatchScope& scope);

/// Mod-Squad / ModuleFormer (Chen et al. 2022; Shen et al. 2023): -I(token; expert) = H(e|x) - H(e), the mean entropy
/// of the tokens minus the entropy of the mean probabilities [nats]; at least -ln E. Collective.
at::Tensor mutual_information_share(const RoutingDecision& decision, const BatchScope& scope);

/// H(e|x): mean over the N tokens of the entropy of the router's softmax [nats].
at::Tensor entropy_share(const RoutingDecision& decision, const BatchScope& scope);

/// The same as a metric, without gradient.
at::Tensor router_entropy_share(const RoutingDecision& decision, const BatchScope& scope);

}  // namespace moetrain
