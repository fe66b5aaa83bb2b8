// defines: make_router, route_alone, RoutePass: one router on one rank
#pragma once
#include <ATen/ATen.h>

#include <memory>

#include "moetrain/routers/router.h"
#include "moetrain/routers/scores/scores.h"
#include "moetrain/routers/selections/selections.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/random_tensor.h"

namespace moetrain {

inline std::shared_ptr<Router> make_router(const MoeConfig& config, int64_t width, int64_t previous_experts = 0,
                                           at::ScalarType type = at::kDouble) {
  return builtin_routers()
      .at(config.router)
      .make(ParameterSource(5, type), config, {width, 1.0, previous_experts, builtin_capacities().at(config.capacity)});
}

struct RoutePass {
  bool training = true;
  at::Tensor previous_logits_TE = {};
};

inline RoutingDecision route_alone(Router& router, const at::Tensor& tokens_TD, const RoutePass& pass = {}) {
  parallel::LocalCommunicator alone;
  const BatchScope scope{alone, tokens_TD.size(0), pass.training};
  return router.forward(tokens_TD, {.scope = scope, .layer = 1, .previous_logits_TE = pass.previous_logits_TE});
}

}  // namespace moetrain
