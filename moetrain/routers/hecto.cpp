// Hecto's router: one expert for a whole sequence (moe.rows = "sequences"), or, as any router, for each token.
#include <ATen/ATen.h>

#include "moetrain/routers/composed_router.h"

namespace moetrain {
namespace {

struct HectoConfig {
  double temperature = 1.5;
};

template <class Visitor>
void visit(HectoConfig& config, Visitor& field) {
  field("temperature", config.temperature, parallel::above(0), "of the softmax; Hecto: 1.5");
}

Squashed tempered_softmax(const at::Tensor& logits_TE, const MoeConfig& config) {
  return softmax_squash(logits_TE / config.own<HectoConfig>().temperature, config);
}

/// softmax(x W^T / temperature), the largest, of weight 1 with the gradient of its probability (from the model card;
/// that the estimator is straight-through is inferred), or, gate = raw, of its probability. Trained with the losses
/// entropy and diversity.
std::shared_ptr<Router> make_hecto(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router(
      {.scores = linear_scores(input), .squash = tempered_softmax, .selection = select_largest, .chooses_all = true},
      input);
}

}  // namespace

RouterPreset hecto_router() {
  return {.make = make_hecto,
          .demands = {.top_k = 1, .gates = {Gate::kStraightThrough, Gate::kRaw}},
          .keys = parallel::own_keys_of<HectoConfig>};
}

}  // namespace moetrain
