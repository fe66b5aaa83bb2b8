#include "moetrain/routers/composed_router.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <utility>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/routers/capacities/capacity.h"
#include "moetrain/routers/draws.h"
#include "moetrain/routers/gates.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"

namespace moetrain {
namespace {

constexpr double kResidualStd = 0.02;

/// Of U[1 - half_width, 1 + half_width] for each element of each token.
at::Tensor jitter_factors(const at::Tensor& tokens_TD, double half_width, const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  const parallel::RandomStream stream = scope.draws.stream("router jitter", context.layer);
  const at::Tensor uniform_TD =
      uniform_draws(stream, scope.first_token * tokens_TD.size(1), tokens_TD.sizes(), tokens_TD.options());
  return 1.0 - half_width + 2.0 * half_width * uniform_TD;
}

/// Of each choice; 0 where there is none.
at::Tensor scores_of(const at::Tensor& score_TE, const at::Tensor& chosen_TK) {
  if (!at::GradMode::is_enabled() && parallel::has_wide_loops(score_TE)) {
    at::Tensor score_TK = at::empty(chosen_TK.sizes(), score_TE.options());
    AT_DISPATCH_FLOATING_TYPES(score_TE.scalar_type(), "scores_of", [&] {
      const auto from = score_TE.accessor<scalar_t, 2>();
      const auto chosen = chosen_TK.accessor<int64_t, 2>();
      auto to = score_TK.accessor<scalar_t, 2>();
      for (int64_t t = 0; t < chosen.size(0); ++t) {
        for (int64_t k = 0; k < chosen.size(1); ++k) {
          const int64_t expert = chosen[t][k];
          parallel::check_internal(expert < from.size(1), "choice ", k, " of token ", t, ": expert ", expert, " of ",
                                   from.size(1));
          to[t][k] = expert >= 0 ? from[t][expert] : scalar_t(0);
        }
      }
    });
    return score_TK;
  }
  return score_TE.gather(1, chosen_TK.clamp_min(0)).masked_fill(chosen_TK < 0, 0.0);
}

class ComposedRouter : public Router {
 public:
  ComposedRouter(RouterParts parts, const ScoresInput& input)
      : config_(input.config), gate_(input.config.gate), capacity_(input.shape.capacity), parts_(std::move(parts)) {
    for (const auto& [name, parameter] : parts_.scores->parameters()) register_parameter(name, parameter);
    const int64_t experts = input.experts();
    if (config_.gating_residual && input.shape.previous_experts > 0) {
      residual_weight_EP_ = register_parameter(
          "residual_weight",
          input.source.normal("residual_weight", {experts, input.shape.previous_experts}, kResidualStd));
    }
    if (config_.task_bias) {
      const int64_t tasks = std::ssize(input.shape.tasks);
      task_bias_SE_ =
          register_parameter("task_bias", input.source.normal("task_bias", {tasks, experts}, input.shape.std));
    }
    if (parts_.bias_rate) {
      const at::TensorOptions options = input.source.options();
      const bool wide = c10::typeMetaToScalarType(options.dtype()) == at::kDouble;
      bias_E_ = register_buffer("bias", at::zeros({experts}, options.dtype(wide ? at::kDouble : at::kFloat)));
    }
  }

  RoutingDecision forward(const at::Tensor& tokens_TD, const RoutingContext& context) override {
    at::Tensor wide_TD = tokens_TD.to(tokens_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    if (config_.jitter > 0 && context.scope.training) {
      wide_TD = wide_TD * jitter_factors(wide_TD, config_.jitter, context);
    }
    ScoreTable scores = parts_.scores->forward(wide_TD, context);
    if (residual_weight_EP_.defined()) add_residual(scores, context);
    if (task_bias_SE_.defined()) add_task_bias(scores, context);
    const Squashed squashed = parts_.squash(scores.logits_TE, config_);
    RoutingDecision decision;
    decision.logits_TE = scores.logits_TE;
    decision.clean_logits_TE = scores.clean_logits_TE;
    decision.noise_scale_TE = scores.noise_scale_TE;
    decision.probabilities_TE = squashed.probabilities_TE;
    const RoutingChoices choices =
        context.injected != nullptr ? *context.injected : choose(scores.logits_TE.detach(), squashed, context);
    decision.chosen_TK = choices.chosen_TK;
    decision.global_choices_E = choices.global_choices_E;
    decision.global_first_E = choices.global_first_E;
    decision.dropped = choices.dropped;
    decide_weights(decision, scores_of(squashed.score_TE, choices.chosen_TK), choices.expert_TK);
    decision.assignment.weight_TK = decision.assignment.weight_TK.to(tokens_TD.scalar_type());
    decision.assignment.kept = choices.kept;
    return decision;
  }

  void after_update(const at::Tensor& global_choices_E) override {
    if (!parts_.bias_rate) return;
    const at::NoGradGuard no_gradient;
    // In whole numbers, so that a load that is just the mean is found to be.
    const at::Tensor missing_E = global_choices_E.sum() - global_choices_E * global_choices_E.numel();
    bias_E_.add_(missing_E.sign().to(bias_E_.options()), *parts_.bias_rate);
  }

 private:
  void add_residual(ScoreTable& scores, const RoutingContext& context) const {
    const at::Tensor& previous_TP = context.previous_logits_TE;
    parallel::check_internal(previous_TP.defined(), "gating_residual: no logits of the MoE layer before");
    const at::ScalarType wide = scores.logits_TE.scalar_type();
    add_to_logits(scores, at::linear(previous_TP.to(wide), residual_weight_EP_.to(wide)));
  }

  void add_task_bias(ScoreTable& scores, const RoutingContext& context) const {
    const at::Tensor& task_T = context.scope.task_T;
    const at::Tensor& logits_TE = scores.logits_TE;
    parallel::check_internal(task_T.defined() && task_T.size(0) == logits_TE.size(0),
                             "task_bias: no task of each token");
    // A product, whose backward adds in a fixed order on every device.
    const at::Tensor own_TS = at::one_hot(task_T, task_bias_SE_.size(0)).to(logits_TE.options().requires_grad(false));
    add_to_logits(scores, own_TS.matmul(task_bias_SE_.to(logits_TE.scalar_type())));
  }

  static void add_to_logits(ScoreTable& scores, const at::Tensor& addend_TE) {
    scores.logits_TE = scores.logits_TE + addend_TE;
    if (scores.clean_logits_TE.defined()) scores.clean_logits_TE = scores.clean_logits_TE + addend_TE;
  }

  /// Without gradient. Collective.
  RoutingChoices choose(const at::Tensor& logits_TE, const Squashed& squashed, const RoutingContext& context) const {
    const at::Tensor score_TE = squashed.score_TE.detach();
    const at::Tensor chosen_TK =
        parts_.selection({logits_TE, squashed.probabilities_TE.detach(), score_TE, bias_E_}, config_, context);
    const CapacityOutcome kept =
        apply_capacity({chosen_TK, scores_of(score_TE, chosen_TK)}, config_, capacity_, context);
    RoutingChoices choices{chosen_TK, kept.expert_TK, kept.global_choices_KE.sum(0), kept.global_choices_KE[0],
                           kept.dropped};
    if (parts_.chooses_all) choices.kept = chosen_TK.numel() - kept.dropped;
    if (parts_.experts_choose && context.scope.training) {
      choices.dropped = (kept.expert_TK == parallel::Assignment::kDropped).all(1).sum().item<int64_t>();
    }
    return choices;
  }

  void decide_weights(RoutingDecision& decision, const at::Tensor& score_TK, const at::Tensor& expert_TK) const {
    const ExpertKinds kinds = expert_kinds(config_);
    const auto of_kept = [&](const at::Tensor& kept_TK) {
      GateMasks masks;
      if (asks_for_masks(gate_)) {
        masks = {kept_TK, (decision.chosen_TK >= 0) & (decision.chosen_TK < kinds.true_experts())};
      }
      const at::Tensor weight_TK = gate_weights(gate_, score_TK, masks);
      return config_.route_scale == 1 ? weight_TK : weight_TK * config_.route_scale;
    };
    decision.gate_TK = of_kept(decision.chosen_TK >= 0);
    at::Tensor weight_TK = decision.gate_TK;
    if (gate_ == Gate::kSum1Kept) weight_TK = of_kept(expert_TK != parallel::Assignment::kDropped);
    decision.assignment = {expert_TK, weight_TK, kinds.total()};
  }

  MoeConfig config_;
  Gate gate_;
  CapacityRule capacity_;
  RouterParts parts_;
  at::Tensor residual_weight_EP_;  // undefined without a gating residual
  at::Tensor bias_E_;              // undefined where the selection has none
  at::Tensor task_bias_SE_;        // undefined without a task bias; S tasks
};

}  // namespace

std::shared_ptr<Router> compose_router(RouterParts parts, const ScoresInput& input) {
  return std::make_shared<ComposedRouter>(std::move(parts), input);
}

}  // namespace moetrain
