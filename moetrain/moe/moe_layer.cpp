#include "moetrain/moe/moe_layer.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/moe/layer_observer.h"

namespace moetrain {

MoeLayer::MoeLayer(const ParameterSource& source, const MoeConfig& config, const Shape& shape, const MoeTables& tables)
    : RoutedLayer(source, config,
                  {.site = {.block = shape.layer},
                   .width = shape.width,
                   .std = shape.std,
                   .previous_experts = shape.previous_experts,
                   .causal = shape.causal},
                  tables) {
  add_experts(source, shape, tables);
  if (config.shared_hidden > 0) add_shared(source, shape);
}

void MoeLayer::add_experts(const ParameterSource& source, const Shape& shape, const MoeTables& tables) {
  const int64_t latent = config_.latent;
  if (latent > 0) {
    latent_down_ = register_module("latent_down",
                                   std::make_shared<Linear>(source.at("latent_down"), shape.width, latent, shape.std));
  }
  // Only what writes to the residual stream has the smaller initial weights.
  const ExpertShape expert{.width = latent > 0 ? latent : shape.width,
                           .activation = shape.activation,
                           .std = shape.std,
                           .output_std = latent > 0 ? shape.std : shape.output_std};
  experts_ = register_module(
      "experts", std::make_shared<DispatchedExperts>(source.at("experts"), tables.experts, expert, config_));
  if (!config_.expert_weights.empty()) {
    shared_weights_.emplace(config_.expert_weights, source.options().device());
  }
  if (latent > 0) {
    latent_up_ = register_module(
        "latent_up", std::make_shared<Linear>(source.at("latent_up"), latent, shape.width, shape.output_std));
  }
  const ExpertKinds kinds = expert_kinds(config_);
  if (!LocalExperts::needed(kinds)) return;
  local_ = register_module("local", std::make_shared<LocalExperts>(source.at("local"), kinds, shape.width, shape.std));
}

void MoeLayer::add_shared(const ParameterSource& source, const Shape& shape) {
  const FeedForward::Shape shared{
      .width = shape.width, .hidden = config_.shared_hidden, .activation = shape.activation, .bias = shape.bias};
  shared_ = register_module("shared",
                            std::make_shared<FeedForward>(source.at("shared"), shared, shape.std, shape.output_std));
  if (config_.shared_combine == SharedCombine::kResidual) {
    residual_mix_ = register_module("residual_mix",
                                    std::make_shared<ResidualMix>(source.at("residual_mix"), shape.width, shape.std));
  } else if (config_.shared_gate) {
    shared_gate_ =
        register_module("shared_gate", std::make_shared<Linear>(source.at("shared_gate"), shape.width, 1, shape.std));
  }
}

MoeOutput MoeLayer::forward(const at::Tensor& tokens_TD, const BatchScope& scope,
                            const at::Tensor& previous_logits_TE) {
  auto [out_TD, decision] = mix(tokens_TD, scope, previous_logits_TE, /*injected=*/nullptr);
  LossTerms terms = losses(*decision, scope);
  return {.out_TD = std::move(out_TD), .decision = *std::move(decision), .losses = std::move(terms)};
}

MixedTokens MoeLayer::mix(const at::Tensor& tokens_TD, const BatchScope& scope, const at::Tensor& previous_logits_TE,
                          const RoutingChoices* injected) const {
  if (config_.rows == Rows::kSequences) return mix_sequences(tokens_TD, scope, previous_logits_TE, injected);
  RoutingDecision decision = route(tokens_TD, scope, previous_logits_TE, injected);
  const AdapterDraws draws = AdapterDraws::of_own(scope);
  show(tokens_TD, decision, !decision.slots, scope);
  at::Tensor out_TD;
  if (const std::optional<SlotMix> slots = std::exchange(decision.slots, std::nullopt)) {
    out_TD = slots->combine(routed(slots->rows_RD, slots->assignment, nullptr, {}));
  } else {
    out_TD = routed(tokens_TD, decision.assignment, nullptr, draws);
  }
  if (shared_) out_TD = with_shared(tokens_TD, out_TD, draws);
  return {std::move(out_TD), std::move(decision)};
}

MixedTokens MoeLayer::mix_sequences(const at::Tensor& tokens_TD, const BatchScope& scope,
                                    const at::Tensor& previous_logits_RE, const RoutingChoices* injected) const {
  const SequenceRows rows(scope);
  const at::Tensor own_ND = rows.own(tokens_TD);
  const Pool seen = config_.own<SequenceRoutingConfig>().seen;
  RoutingDecision decision = route(rows.sequences().pooled(own_ND, seen), rows.scope(), previous_logits_RE, injected);
  show(tokens_TD, decision, /*dispatched=*/false, scope);
  at::Tensor out_TD = rows.back(routed(own_ND, decision.assignment, &rows, {}));
  if (shared_) out_TD = with_shared(tokens_TD, out_TD, AdapterDraws::of_own(scope));
  return {std::move(out_TD), std::move(decision)};
}

void MoeLayer::show(const at::Tensor& tokens_TD, const RoutingDecision& decision, bool dispatched,
                    const BatchScope& scope) const {
  if (scope.observer == nullptr) return;
  ObservedExperts seen{.layer = site().block,
                       .rows = config_.rows,
                       .decision = decision,
                       .routed = config_.experts,
                       .computing = expert_kinds(config_).true_experts()};
  if (dispatched && !shared_weights_) {  // what experts compute is told by expert, and these compute by set
    seen.input_TD = latent_down_ ? latent_down_->forward(tokens_TD) : tokens_TD;
    seen.hidden_units = experts_->hidden_units();
    seen.hidden = [this](const at::Tensor& rows_RD, const std::vector<int64_t>& rows_per_expert) {
      return experts_->hidden(rows_RD, rows_per_expert);
    };
  }
  scope.observer->see(seen);
  if (!shared_) return;
  scope.observer->see(ObservedFeedForward{
      .layer = site().block, .shared = true, .input_TD = tokens_TD, .hidden_TF = shared_->hidden(tokens_TD)});
}

at::Tensor MoeLayer::routed(const at::Tensor& tokens_TD, const parallel::Assignment& assignment,
                            const SequenceRows* rows, const AdapterDraws& draws) const {
  const at::Tensor narrow = latent_down_ ? latent_down_->forward(tokens_TD, draws) : tokens_TD;
  parallel::Assignment dispatched = dispatched_choices(assignment, config_.experts);
  if (shared_weights_) dispatched = shared_weights_->of_sets(dispatched);
  at::Tensor out_TD = rows != nullptr ? rows->unpack(experts_->forward(rows->pack(narrow), dispatched))
                                      : experts_->forward(narrow, dispatched);
  if (latent_up_) out_TD = latent_up_->forward(out_TD, draws);
  if (!local_) return out_TD;
  return out_TD + local_->forward(tokens_TD, rows != nullptr ? rows->of_tokens(assignment) : assignment);
}

at::Tensor MoeLayer::with_shared(const at::Tensor& tokens_TD, const at::Tensor& routed_TD,
                                 const AdapterDraws& draws) const {
  const parallel::Phase phase(parallel::PhaseName::kFeedForward);
  at::Tensor shared_TD = shared_->forward(tokens_TD, {}, draws);
  if (residual_mix_) return residual_mix_->forward(tokens_TD, routed_TD, shared_TD);
  if (shared_gate_) shared_TD = shared_TD * at::sigmoid(shared_gate_->forward(tokens_TD, draws));
  return routed_TD + shared_TD;
}

}  // namespace moetrain
