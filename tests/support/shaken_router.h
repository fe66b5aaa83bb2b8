// defines: Tie, ShakenRouter, shaken_routers: routers that choose on scores shaken by round-off, as on another
// processor
#pragma once
#include <ATen/ATen.h>

#include <memory>
#include <utility>
#include <vector>

#include "moetrain/routers/capacities/capacity.h"
#include "moetrain/routers/capacities/drop_rules.h"
#include "moetrain/routers/draws.h"
#include "moetrain/routers/router.h"
#include "parallel/base/random.h"

/// Who breaks ties among choices that exceed an expert's capacity.
enum class Tie {
  kByRouter,
  kByBits,  // the last bit of a probability: what no router may do
};

/// Chooses in training on tokens whose elements are each changed by up to 1e-12 of themselves, otherwise on every rank
/// and in every pass; computes all else on the tokens as they are.
class ShakenRouter : public moetrain::Router {
 public:
  ShakenRouter(std::shared_ptr<moetrain::Router> router, moetrain::MoeConfig config, Tie tie)
      : router_(std::move(router)), config_(std::move(config)), tie_(tie) {
    for (const auto& parameter : router_->named_parameters()) register_parameter(parameter.key(), parameter.value());
    for (const auto& buffer : router_->named_buffers()) register_buffer(buffer.key(), buffer.value());
  }

  moetrain::RoutingDecision forward(const at::Tensor& tokens_TD, const moetrain::RoutingContext& context) override {
    if (context.injected != nullptr || !context.scope.training) return router_->forward(tokens_TD, context);
    const moetrain::RoutingChoices choices = choose(tokens_TD.detach(), context);
    moetrain::RoutingContext injecting = context;
    injecting.injected = &choices;
    return router_->forward(tokens_TD, injecting);
  }

  void after_update(const at::Tensor& global_choices_E) override { router_->after_update(global_choices_E); }

 private:
  moetrain::RoutingChoices choose(const at::Tensor& tokens_TD, const moetrain::RoutingContext& context) {
    const at::NoGradGuard no_gradient;
    const at::Tensor shaken_TD = tokens_TD * (1 + 1e-12 * noise(tokens_TD, context));
    moetrain::BatchScope scope = context.scope;
    at::Tensor& entrance_TE = scope.pre_gate_TE;
    if (entrance_TE.defined()) entrance_TE = entrance_TE * (1 + 1e-12 * noise(entrance_TE, context));
    const moetrain::RoutingDecision decision = router_->forward(
        shaken_TD, {.scope = scope, .layer = context.layer, .previous_logits_TE = context.previous_logits_TE});
    moetrain::RoutingChoices choices = choices_of(decision);
    if (tie_ == Tie::kByRouter) return choices;
    choices.expert_TK = choices.chosen_TK.clone();
    const at::Tensor probability_TK = decision.probabilities_TE.gather(1, choices.chosen_TK).to(at::kDouble);
    choices.dropped = moetrain::drop_lowest(
        choices.expert_TK, {probability_TK},
        moetrain::builtin_capacities()
            .at(config_.capacity)
            .capacities(config_, context.scope.global_tokens, config_.own<moetrain::BoundConfig>().factor),
        context.scope.group, at::kCPU);
    return choices;
  }

  at::Tensor noise(const at::Tensor& tokens_TD, const moetrain::RoutingContext& context) {
    const parallel::RandomStream stream(1, "shaken", context.scope.group.rank(), ++passes_);
    return 2 * moetrain::uniform_draws(stream, 0, tokens_TD.sizes(), tokens_TD.options()) - 1;
  }

  std::shared_ptr<moetrain::Router> router_;
  moetrain::MoeConfig config_;
  Tie tie_;
  int64_t passes_ = 0;
};

/// Each published router, shaken.
template <Tie tie>
parallel::NameTable<moetrain::RouterPreset> shaken_routers() {
  parallel::NameTable<moetrain::RouterPreset> shaken("router", {});
  for (const std::string& name : moetrain::builtin_routers().names()) {
    moetrain::RouterPreset preset = moetrain::builtin_routers().at(name);
    preset.make = [](const moetrain::ParameterSource& source, const moetrain::MoeConfig& config,
                     const moetrain::RouterShape& shape) -> std::shared_ptr<moetrain::Router> {
      return std::make_shared<ShakenRouter>(moetrain::builtin_routers().at(config.router).make(source, config, shape),
                                            config, tie);
    };
    shaken.add(name, preset);
  }
  return shaken;
}
