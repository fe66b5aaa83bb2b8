#include "moetrain/routers/routing.h"

namespace moetrain {

RoutingChoices choices_of(const RoutingDecision& decision) {
  return {.chosen_TK = decision.chosen_TK,
          .expert_TK = decision.assignment.expert_TK,
          .global_choices_E = decision.global_choices_E,
          .global_first_E = decision.global_first_E,
          .dropped = decision.dropped,
          .kept = decision.assignment.kept};
}

std::vector<at::Tensor*> differentiable(RoutingDecision& decision) {
  return {&decision.logits_TE,       &decision.probabilities_TE, &decision.gate_TK,
          &decision.clean_logits_TE, &decision.noise_scale_TE,   &decision.assignment.weight_TK};
}

}  // namespace moetrain
