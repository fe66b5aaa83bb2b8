#include "moetrain/routers/composed_router.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/moe/expert_kinds.h"
#include "moetrain/routers/capacity.h"
#include "moetrain/routers/draws.h"
#include "moetrain/routers/gates.h"

namespace moetrain {
namespace {

/// Of U[1 - half_width, 1 + half_width] for each element of each token.
at::Tensor jitter_factors(const at::Tensor& tokens_TD, double half_width, const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  const parallel::RandomStream stream = scope.draws.stream("router jitter", context.layer);
  const at::Tensor uniform_TD =
      uniform_draws(stream, scope.first_token * tokens_TD.size(1), tokens_TD.sizes(), tokens_TD.options());
  return 1.0 - half_width + 2.0 * half_width * uniform_TD;
}

class ComposedRouter : public Router {
 public:
  ComposedRouter(std::unique_ptr<Scores> scores, Selection selection, const MoeConfig& config)
      : config_(config), gate_(parse_gate(config.gate)), scores_(std::move(scores)), selection_(selection) {
    for (const auto& [name, parameter] : scores_->parameters()) register_parameter(name, parameter);
  }

  RoutingDecision forward(const at::Tensor& tokens_TD, const RoutingContext& context) override {
    at::Tensor wide_TD = tokens_TD.to(tokens_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    if (config_.jitter > 0 && context.scope.training) {
      wide_TD = wide_TD * jitter_factors(wide_TD, config_.jitter, context);
    }
    const ScoreTable scores = scores_->forward(wide_TD, context);
    RoutingDecision decision;
    decision.logits_TE = scores.logits_TE;
    decision.clean_logits_TE = scores.clean_logits_TE;
    decision.noise_scale_TE = scores.noise_scale_TE;
    decision.probabilities_TE = at::softmax(scores.logits_TE, 1);
    decision.chosen_TK = selection_({scores.logits_TE.detach(), decision.probabilities_TE.detach()}, config_, context);
    decide_weights(decision, tokens_TD.scalar_type(), context);
    return decision;
  }

 private:
  void decide_weights(RoutingDecision& decision, at::ScalarType type, const RoutingContext& context) const {
    const at::Tensor probability_TK = decision.probabilities_TE.gather(1, decision.chosen_TK);
    const CapacityOutcome kept = apply_capacity({decision.chosen_TK, probability_TK.detach()}, config_, context);
    decision.global_choices_E = kept.global_choices_KE.sum(0);
    decision.global_first_E = kept.global_choices_KE[0];
    decision.dropped = kept.dropped;
    const at::Tensor all_TK = at::ones_like(kept.expert_TK, at::kBool);
    decision.gate_TK = gate_weights(gate_, probability_TK, all_TK);
    const at::Tensor weight_TK =
        gate_ == Gate::kSum1Kept ? gate_weights(gate_, probability_TK, kept.expert_TK != parallel::Assignment::kDropped)
                                 : decision.gate_TK;
    decision.assignment = {kept.expert_TK, weight_TK.to(type), expert_kinds(config_).total()};
  }

  MoeConfig config_;
  Gate gate_;
  std::unique_ptr<Scores> scores_;
  Selection selection_;
};

}  // namespace

std::shared_ptr<Router> compose_router(std::unique_ptr<Scores> scores, Selection selection, const MoeConfig& config) {
  return std::make_shared<ComposedRouter>(std::move(scores), selection, config);
}

}  // namespace moetrain
