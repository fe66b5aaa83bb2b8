#include "moetrain/losses/routing_shares.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "moetrain/losses/statistic_share.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

at::Tensor squared_variation(const at::Tensor& sum_E) {
  return sum_E.var(/*dim=*/0, /*unbiased=*/true) / (sum_E.mean().square() + 1e-10);
}

/// Sum of p log p over all entries.
at::Tensor negative_entropy(const at::Tensor& p) { return (p * p.clamp_min(1e-30).log()).sum(); }

at::Tensor entropy(const at::Tensor& p_E) { return -negative_entropy(p_E); }

}  // namespace

at::Tensor router_z_share(const RoutingDecision& decision, const BatchScope& scope) {
  return at::logsumexp(decision.logits_TE, 1).square().sum() / static_cast<double>(scope.global_tokens);
}

at::Tensor importance_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::Tensor zero_E = at::zeros({decision.probabilities_TE.size(1)}, decision.gate_TK.options());
  const at::Tensor sum_E = zero_E.index_add(0, decision.chosen_TK.clamp_min(0).flatten(), decision.gate_TK.flatten());
  return share_of_statistic(sum_E, scope.group, &squared_variation);
}

at::Tensor load_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::Tensor &noisy_TE = decision.logits_TE, &chosen_TK = decision.chosen_TK;
  const int64_t top_k = chosen_TK.size(1);
  parallel::check_internal(decision.noise_scale_TE.defined(), "load_share: the router adds no noise");
  parallel::check_internal(top_k < noisy_TE.size(1), "load_share: every expert is chosen");
  // The K-th largest of the others: for a chosen expert the largest that is not chosen, else the last of the chosen.
  const at::Tensor last_T1 = noisy_TE.gather(1, chosen_TK.narrow(1, top_k - 1, 1));
  const at::Tensor chosen_TE = at::zeros_like(noisy_TE.detach(), at::kBool).scatter(1, chosen_TK, true);
  const at::Tensor next_T1 =
      std::get<0>(noisy_TE.masked_fill(chosen_TE, -std::numeric_limits<double>::infinity()).max(1, /*keepdim=*/true));
  const at::Tensor threshold_TE = at::where(chosen_TE, next_T1, last_T1);
  const at::Tensor margin_TE = (decision.clean_logits_TE - threshold_TE) / decision.noise_scale_TE;
  const at::Tensor probability_TE = 0.5 * at::erfc(margin_TE / -std::sqrt(2.0));
  return share_of_statistic(probability_TE.sum(0), scope.group, &squared_variation);
}

at::Tensor entropy_share(const RoutingDecision& decision, const BatchScope& scope) {
  return -negative_entropy(decision.probabilities_TE) / static_cast<double>(scope.global_tokens);
}

at::Tensor mutual_information_share(const RoutingDecision& decision, const BatchScope& scope) {
  return entropy_share(decision, scope) +
         share_of_statistic(local_mean(decision, scope), scope.group, &negative_entropy);
}

at::Tensor concentration_share(const RoutingDecision& decision, const BatchScope& scope) {
  return share_of_statistic(local_mean(decision, scope), scope.group, &entropy);
}

at::Tensor router_entropy_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::NoGradGuard no_gradient;
  return entropy_share(decision, scope);
}

}  // namespace moetrain
