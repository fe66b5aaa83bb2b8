#include "moetrain/moe/routed_layer.h"

#include <algorithm>
#include <cmath>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/layers/sequence_rows.h"
#include "parallel/base/fault.h"

namespace moetrain {

RoutedLayer::RoutedLayer(const ParameterSource& source, const MoeConfig& config, const Shape& shape,
                         const MoeTables& tables)
    : config_(config), site_(shape.site), losses_(chosen_losses(config, tables.losses)) {
  const RouterPreset& router = tables.routers.at(config.router);
  const CapacityRule& capacity = tables.capacities.at(config.capacity);
  each_token_alone_ = config.rows == Rows::kTokens && router.demands.causal_safe && !router.demands.always_draws &&
                      (!capacity.bounds() || config.own<BoundConfig>().evaluation == 0);
  parallel::check_internal(!shape.causal || router.demands.causal_safe, "router ", config.router,
                           " in a decoder block");
  const RouterShape routed{shape.width, shape.std, shape.previous_experts, capacity, tables.tasks};
  router_ = register_module("router", router.make(source.at("router"), config, routed));
}

LossTerms RoutedLayer::losses(const RoutingDecision& decision, const BatchScope& scope) const {
  if (!scope.training) return {};
  const parallel::Phase phase(parallel::PhaseName::kRoute);
  const auto of = [&](const BatchScope& of_rows) {
    return router_losses(losses_, decision, config_, {.scope = of_rows, .layer = site_.number()});
  };
  return config_.rows == Rows::kSequences ? of(scope_of_sequences(scope)) : of(scope);
}

int64_t RoutedLayer::idle_parameters() const {
  const int64_t sets = weight_sets(config_), idle = sets - std::min(config_.top_k, sets);
  const int64_t all = experts().parameters_of_all();
  return all / sets * idle + all % sets * idle / sets;
}

double RoutedLayer::unread_parameters(int64_t tokens) const {
  const auto sets = static_cast<double>(weight_sets(config_));
  const double left_out = 1 - std::min(static_cast<double>(config_.top_k), sets) / sets;
  return static_cast<double>(experts().parameters_of_all()) * std::pow(left_out, static_cast<double>(tokens));
}

ParameterCount parameter_count(const torch::nn::Module& model, const PlacementTable& placements) {
  ParameterCount count;
  for (const auto& parameter : model.named_parameters()) {
    const auto found = placements.find(parameter.key());
    const int64_t elements = found == placements.end() ? parameter.value().numel() : found->second.global_elements();
    count.total += elements;
    if (parameter.value().requires_grad()) count.trained += elements;
  }
  count.active = count.total;
  for (const auto& module : model.modules(/*include_self=*/false)) {
    if (const auto* layer = dynamic_cast<const RoutedLayer*>(module.get())) count.active -= layer->idle_parameters();
  }
  return count;
}

}  // namespace moetrain
