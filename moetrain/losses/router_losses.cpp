#include "moetrain/losses/router_losses.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "moetrain/losses/statistic_share.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// Sum over e of p_e * count_e / N, this rank's part of p.
at::Tensor balance(const at::Tensor& probabilities_TE, const at::Tensor& count_E, const BatchScope& scope,
                   double scale) {
  const auto tokens = static_cast<double>(scope.global_tokens);
  const at::Tensor fraction_E = count_E.to(probabilities_TE.scalar_type()) / tokens;
  return (probabilities_TE.sum(0) * fraction_E).sum() * (scale / tokens);
}

at::Tensor squared_variation(const at::Tensor& sum_E) {
  return sum_E.var(/*dim=*/0, /*unbiased=*/true) / (sum_E.mean().square() + 1e-10);
}

at::Tensor negative_entropy(const at::Tensor& p_E) { return (p_E * p_E.clamp_min(1e-30).log()).sum(); }

struct WeightedLoss {
  const char* name;
  double weight;
  at::Tensor (*share)(const RoutingDecision& decision, const BatchScope& scope);
};

}  // namespace

LossTerms router_losses(const RoutingDecision& decision, const MoeConfig& config, const BatchScope& scope) {
  const WeightedLoss all[] = {
      {"load_balance", config.load_balance,
       config.balance_choices == "first" ? &first_choice_balance_share : &load_balance_share},
      {"router_z", config.router_z, &router_z_share},
      {"importance", config.importance, &importance_share},
      {"load", config.load, &load_share},
      {"mutual_information", config.mutual_information, &mutual_information_share},
      {"entropy", config.entropy, &entropy_share},
  };
  LossTerms losses;
  for (const WeightedLoss& loss : all) {
    if (loss.weight > 0) losses.add(loss.name, loss.share(decision, scope) * loss.weight);
  }
  return losses;
}

at::Tensor load_balance_share(const RoutingDecision& decision, const BatchScope& scope) {
  const auto experts = static_cast<double>(decision.probabilities_TE.size(1));
  const auto top_k = static_cast<double>(decision.assignment.expert_TK.size(1));
  return balance(decision.probabilities_TE, decision.global_choices_E, scope, experts / top_k);
}

at::Tensor first_choice_balance_share(const RoutingDecision& decision, const BatchScope& scope) {
  const auto experts = static_cast<double>(decision.probabilities_TE.size(1));
  return balance(decision.probabilities_TE, decision.global_first_E, scope, experts);
}

at::Tensor router_z_share(const RoutingDecision& decision, const BatchScope& scope) {
  return at::logsumexp(decision.logits_TE, 1).square().sum() / static_cast<double>(scope.global_tokens);
}

at::Tensor importance_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::Tensor zero_E = at::zeros({decision.probabilities_TE.size(1)}, decision.gate_TK.options());
  const at::Tensor sum_E = zero_E.index_add(0, decision.chosen_TK.flatten(), decision.gate_TK.flatten());
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
  const at::Tensor log_p_TE = at::log_softmax(decision.logits_TE, 1);
  return -(log_p_TE.exp() * log_p_TE).sum() / static_cast<double>(scope.global_tokens);
}

at::Tensor mutual_information_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::Tensor mean_E = decision.probabilities_TE.sum(0) / static_cast<double>(scope.global_tokens);
  return entropy_share(decision, scope) + share_of_statistic(mean_E, scope.group, &negative_entropy);
}

at::Tensor router_entropy_share(const RoutingDecision& decision, const BatchScope& scope) {
  const at::NoGradGuard no_gradient;
  return entropy_share(decision, scope);
}

}  // namespace moetrain
