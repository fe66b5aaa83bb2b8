// Losses that are one formula over a RoutingDecision.
// defines: router_z_share, importance_share, load_share, mutual_information_share, concentration_share, entropy_share,
// router_entropy_share
#pragma once
#include "moetrain/routers/routing.h"

namespace moetrain {

// N tokens of the global micro-batch; each gives this rank's share, a scalar (LossTerm), before its weight.

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

/// ModuleFormer's load concentration (Shen et al. 2023), for fine-tuning: the entropy of the mean probabilities over
/// the N tokens [nats], which falls as fewer experts serve this text (those left idle may be pruned). Collective.
at::Tensor concentration_share(const RoutingDecision& decision, const BatchScope& scope);

/// H(e|x): mean over the N tokens of the entropy of the router's probabilities [nats].
at::Tensor entropy_share(const RoutingDecision& decision, const BatchScope& scope);

/// The same as a metric, without gradient.
at::Tensor router_entropy_share(const RoutingDecision& decision, const BatchScope& scope);

}  // namespace moetrain
