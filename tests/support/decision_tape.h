// defines: DecisionTape, taped_routers: a run's routing decisions, recorded on one rank and taken over on several
#pragma once
#include <ATen/ATen.h>

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "moetrain/routers/router.h"
#include "parallel/base/fault.h"

/// What a router chose in training, by (layer, step, pass). The models of taped_routers() use the tape in use.
class DecisionTape {
 public:
  enum class Mode { kRecord, kInject };

  /// From now on, until another is; it must live as long. To record, the run has one rank.
  void use(Mode mode) {
    mode_ = mode;
    in_use_ = this;
  }
  static DecisionTape& in_use() {
    parallel::check_internal(in_use_ != nullptr, "DecisionTape: none is in use");
    return *in_use_;
  }
  Mode mode() const { return mode_; }

  int64_t choices = 0;  // injected on this rank
  int64_t flips = 0;    // of them, how many this rank would have chosen otherwise

  void record(const moetrain::RoutingContext& context, const moetrain::RoutingDecision& decision) {
    global_[key(context)] = moetrain::choices_of(decision);
  }
  /// Of this rank's tokens.
  moetrain::RoutingChoices own(const moetrain::RoutingContext& context, int64_t tokens) const {
    moetrain::RoutingChoices part = global_.at(key(context));
    const int64_t first = context.scope.first_token;
    part.chosen_TK = part.chosen_TK.narrow(0, first, tokens);
    part.expert_TK = part.expert_TK.narrow(0, first, tokens);
    part.dropped = (part.expert_TK == parallel::Assignment::kDropped).sum().item<int64_t>();
    return part;
  }

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t>;
  static Key key(const moetrain::RoutingContext& context) {
    return {context.layer, context.scope.draws.step, context.scope.draws.pass};
  }

  inline static DecisionTape* in_use_ = nullptr;
  Mode mode_ = Mode::kRecord;
  std::map<Key, moetrain::RoutingChoices> global_;
};

/// A published router, whose decisions the tape in use records or replaces; those of recompute it leaves alone.
class TapedRouter : public moetrain::Router {
 public:
  explicit TapedRouter(std::shared_ptr<moetrain::Router> router) : router_(std::move(router)) {
    for (const auto& parameter : router_->named_parameters()) register_parameter(parameter.key(), parameter.value());
    for (const auto& buffer : router_->named_buffers()) register_buffer(buffer.key(), buffer.value());
  }

  moetrain::RoutingDecision forward(const at::Tensor& tokens_TD, const moetrain::RoutingContext& context) override {
    if (context.injected != nullptr || !context.scope.training) return router_->forward(tokens_TD, context);
    DecisionTape& tape = DecisionTape::in_use();
    if (tape.mode() == DecisionTape::Mode::kRecord) {
      moetrain::RoutingDecision decision = router_->forward(tokens_TD, context);
      tape.record(context, decision);
      return decision;
    }
    const moetrain::RoutingChoices choices = tape.own(context, tokens_TD.size(0));
    tape.choices += choices.chosen_TK.numel();
    tape.flips += (selected(tokens_TD, context) != choices.chosen_TK).sum().item<int64_t>();
    moetrain::RoutingContext injecting = context;
    injecting.injected = &choices;
    return router_->forward(tokens_TD, injecting);
  }

  void after_update(const at::Tensor& global_choices_E) override { router_->after_update(global_choices_E); }

 private:
  at::Tensor selected(const at::Tensor& tokens_TD, const moetrain::RoutingContext& context) const {
    const at::NoGradGuard no_gradient;
    return router_->forward(tokens_TD, context).chosen_TK;
  }

  std::shared_ptr<moetrain::Router> router_;
};

/// top_k, taped.
inline parallel::NameTable<moetrain::RouterPreset> taped_routers() {
  moetrain::RouterPreset taped = moetrain::builtin_routers().at("top_k");
  taped.make = [](const moetrain::ParameterSource& source, const moetrain::MoeConfig& config,
                  const moetrain::RouterShape& shape) -> std::shared_ptr<moetrain::Router> {
    return std::make_shared<TapedRouter>(moetrain::builtin_routers().at("top_k").make(source, config, shape));
  };
  return {"router", {{"top_k", taped}}};
}
