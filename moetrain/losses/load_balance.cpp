#include "moetrain/losses/load_balance.h"

#include <ATen/ATen.h>

#include "moetrain/config/expert_kinds.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// eta_e f_e, experts along the last dimension.
at::Tensor weighted_by_kind(at::Tensor fraction, const MoeConfig& config) {
  const ExpertKinds kinds = expert_kinds(config);
  const double kind_weight = config.own<LoadBalanceConfig>().kind_weight;
  const int64_t experts = fraction.size(-1), null = kinds.null, free = kinds.zero_computation();
  if (null > 1) {
    const at::Tensor null_mean = fraction.narrow(-1, experts - null, null).mean(-1, /*keepdim=*/true);
    at::DimVector shape(fraction.sizes().begin(), fraction.sizes().end());
    shape.back() = null;
    fraction = at::cat({fraction.narrow(-1, 0, experts - null), null_mean.expand(shape)}, -1);
  }
  if (free == 0 || kind_weight == 1.0) return fraction;
  return at::cat({fraction.narrow(-1, 0, experts - free), fraction.narrow(-1, experts - free, free) * kind_weight}, -1);
}

/// f of all tokens there are, [E].
at::Tensor fraction_of_all(const RoutingDecision& decision, const MoeConfig& config, const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  const at::ScalarType type = decision.probabilities_TE.scalar_type();
  const auto tokens = static_cast<double>(scope.global_tokens);
  if (config.own<LoadBalanceConfig>().choices == BalanceChoices::kFirst)
    return decision.global_first_E.to(type) / tokens;
  const auto block = static_cast<size_t>(context.layer);
  const bool earlier = config.own<LoadBalanceConfig>().over == BalanceOver::kGlobalBatch &&
                       block < scope.earlier_choices.size() && scope.earlier_choices[block].defined();
  if (!earlier) return decision.global_choices_E.to(type) / tokens;
  const at::Tensor all_E =
      decision.global_choices_E + scope.earlier_choices[block].to(decision.global_choices_E.device());
  // All choices over the choices of a token here are the tokens so far (of a router that takes fewer than K: nearly).
  const at::Tensor choices_per_token = decision.global_choices_E.sum().to(type) / tokens;
  return all_E.to(type) * (choices_per_token / all_E.sum().to(type));
}

/// The share of the mean over sequences of sum over e of eta_e f_e p_e.
at::Tensor within_sequences(const RoutingDecision& decision, const MoeConfig& config, const BatchScope& scope) {
  parallel::check_internal(scope.sequence_T.defined(), "load_balance.over = sequence: the tokens form no sequences");
  const at::Tensor& p_TE = decision.probabilities_TE;
  const int64_t experts = p_TE.size(1), sequences = scope.global_sequences;
  const at::Tensor sequence_T = scope.sequence_T.to(p_TE.device());
  const at::Tensor chosen_TK = config.own<LoadBalanceConfig>().choices == BalanceChoices::kFirst
                                   ? decision.chosen_TK.narrow(1, 0, 1)
                                   : decision.chosen_TK;
  const at::Tensor place_TK =
      (sequence_T.unsqueeze(1) * experts + chosen_TK).masked_fill(chosen_TK < 0, sequences * experts);  // no choice
  const at::Tensor count_SE = at::bincount(place_TK.flatten(), {}, sequences * experts + 1)
                                  .narrow(0, 0, sequences * experts)
                                  .view({sequences, experts});
  const at::Tensor tokens_S1 = at::bincount(sequence_T, {}, sequences).unsqueeze(1);
  at::Tensor counts = at::cat({count_SE, tokens_S1}, 1);  // a sequence may lie on several ranks
  scope.group.all_reduce(counts, parallel::ReduceOp::kSum).wait();
  const at::Tensor length_S1 = counts.narrow(1, experts, 1).clamp_min(1).to(p_TE.scalar_type());
  const at::Tensor fraction_SE = counts.narrow(1, 0, experts).to(p_TE.scalar_type()) / length_S1;
  const at::Tensor slope_SE = weighted_by_kind(fraction_SE, config) / length_S1;  // of L by each token's probability
  return (p_TE * slope_SE.index_select(0, sequence_T)).sum() / static_cast<double>(sequences);
}

void check_load_balance(const MoeConfig& config) {
  const LoadBalanceConfig& own = config.own<LoadBalanceConfig>();
  if (own.over == BalanceOver::kGlobalBatch && own.choices == BalanceChoices::kFirst) {
    parallel::user_error(
        "moe.load_balance.over = \"global_batch\" with moe.load_balance.choices = \"first\": only all ",
        "choices are counted over micro-batches; nearest legal: choices = \"all\" or over = ", "\"micro_batch\"");
  }
  if (own.kind_weight != 1.0 && expert_kinds(config).zero_computation() == 0) {
    parallel::user_error(
        "moe.load_balance.kind_weight (", own.kind_weight,
        ") without constant, copy, zero or null experts weighs nothing; nearest legal: kind_weight = 1");
  }
}

std::string load_balance_refusal(const MoeConfig&, const RouterDemands& demands) {
  return demands.experts_choose || !demands.causal_safe ? "its experts take equally many tokens" : "";
}

int64_t load_balance_bytes(const MoeConfig& config, const LossSizes& sizes) {
  constexpr int64_t kCount = 8;  // [bytes]
  const bool sums = config.own<LoadBalanceConfig>().over == BalanceOver::kSequence;
  return sums ? kCount * sizes.sequences * (expert_kinds(config).total() + 1) : 0;
}

}  // namespace

at::Tensor load_balance_share(const RoutingDecision& decision, const MoeConfig& config, const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  const LoadBalanceConfig& own = config.own<LoadBalanceConfig>();
  const bool per_choice = own.per_choice && own.choices == BalanceChoices::kAll;
  const auto choices = static_cast<double>(per_choice ? decision.assignment.expert_TK.size(1) : 1);
  const double scale = static_cast<double>(decision.probabilities_TE.size(1)) / choices;
  if (own.over == BalanceOver::kSequence) return within_sequences(decision, config, scope) * scale;
  const at::Tensor slope_E = weighted_by_kind(fraction_of_all(decision, config, context), config);
  return (decision.probabilities_TE.sum(0) * slope_E).sum() * (scale / static_cast<double>(scope.global_tokens));
}

RouterLoss load_balance_loss() {
  return {.share = load_balance_share,
          .sentence =
              "weight of the load-balance loss; 0: off. Like every weight it may hold for some updates only, such "
              "as \"0.01 from 100u until 2000u\"",
          .weight = 0.01,
          .keys = parallel::own_keys_of<LoadBalanceConfig>,
          .check = check_load_balance,
          .refusal = load_balance_refusal,
          .summed_bytes = load_balance_bytes};
}

}  // namespace moetrain
