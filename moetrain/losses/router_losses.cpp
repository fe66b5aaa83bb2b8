#include "moetrain/losses/router_losses.h"

#include <ATen/ATen.h>

namespace moetrain {

at::Tensor load_balance_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::Tensor& probabilities_TE = decision.probabilities_TE;
  const auto tokens = static_cast<double>(scope.global_tokens);
  const auto experts = static_cast<double>(probabilities_TE.size(1));
  const auto top_k = static_cast<double>(decision.assignment.expert_TK.size(1));
  const at::Tensor fraction_E = decision.global_choices_E.to(probabilities_TE.scalar_type()) / tokens;
  return (probabilities_TE.sum(0) * fraction_E).sum() * (experts / top_k / tokens);
}

at::Tensor router_z_share(const RoutingDecision& decision, const BatchScope& scope) {
  return at::logsumexp(decision.logits_TE, 1).square().sum() / static_cast<double>(scope.global_tokens);
}

at::Tensor router_entropy_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::Tensor log_p_TE = at::log_softmax(decision.logits_TE.detach(), 1);
  return -(log_p_TE.exp() * log_p_TE).sum() / static_cast<double>(scope.global_tokens);
}

}  // namespace moetrain
