#include "moetrain/moe/moe_layer.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/losses/router_losses.h"
#include "parallel/base/fault.h"

namespace moetrain {

MoeLayer::MoeLayer(const ParameterSource& source, const MoeConfig& config, const Shape& shape,
                   const parallel::NameTable<RouterPreset>& routers)
    : config_(config), layer_(shape.layer) {
  parallel::check_internal(!shape.causal || routers.at(config.router).demands.causal_safe, "router ", config.router,
                           " in a decoder block");
  router_ = register_module(
      "router",
      routers.at(config.router).make(source.at("router"), config, {shape.width, shape.std, shape.previous_experts}));
  const FfnExperts::Shape experts{config.experts, {shape.width, config.hidden, shape.activation}};
  experts_ = register_module("experts",
                             std::make_shared<FfnExperts>(source.at("experts"), experts, shape.std, shape.output_std));
  if (config.shared_hidden == 0) return;
  const FeedForward::Shape shared{shape.width, config.shared_hidden, shape.activation};
  shared_ = register_module("shared",
                            std::make_shared<FeedForward>(source.at("shared"), shared, shape.std, shape.output_std));
  if (!config.shared_gate) return;
  shared_gate_ =
      register_module("shared_gate", std::make_shared<Linear>(source.at("shared_gate"), shape.width, 1, shape.std));
}

MoeOutput MoeLayer::forward(const at::Tensor& tokens_TD, const BatchScope& scope,
                            const at::Tensor& previous_logits_TE) {
  MoeOutput output;
  const RoutingContext context{.scope = scope, .layer = layer_, .previous_logits_TE = previous_logits_TE};
  output.decision = router_->forward(tokens_TD, context);
  if (const std::optional<SlotMix> slots = std::exchange(output.decision.slots, std::nullopt)) {
    output.out_TD = slots->combine(experts_->forward(slots->rows_RD, slots->assignment));
  } else {
    output.out_TD = experts_->forward(tokens_TD, output.decision.assignment);
  }
  if (shared_) {
    at::Tensor shared_TD = shared_->forward(tokens_TD);
    if (shared_gate_) shared_TD = shared_TD * at::sigmoid(shared_gate_->forward(tokens_TD));
    output.out_TD = output.out_TD + shared_TD;
  }
  if (scope.training) output.losses = router_losses(output.decision, config_, context);
  return output;
}

}  // namespace moetrain
