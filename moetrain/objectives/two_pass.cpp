#include "moetrain/objectives/two_pass.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/terms.h"

namespace moetrain {
namespace {

class TwoPass : public Objective {
 public:
  explicit TwoPass(const ObjectiveConfig& config)
      : label_smoothing_(config.label_smoothing), consistency_(config.own<TwoPassConfig>().consistency) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    PassScope second = pass;
    second.draws.pass = pass.draws.pass + 1;
    ModelOutput p = model.forward(batch.inputs, pass), q = model.forward(batch.inputs, second);
    const HeadLoss loss = model.head().two_pass(p.hidden_TD, q.hidden_TD, targets_of(batch, scale, label_smoothing_),
                                                consistency_.at(pass.update));
    LossTerms losses;
    add_head_loss(losses, batch, loss, "consistency");
    ObjectiveOutput result = with_layers(std::move(losses), loss, std::move(p), scale);
    add_layer_losses(result.losses, q.losses, scale);
    return result;
  }

 private:
  double label_smoothing_;
  parallel::Weight consistency_;
};

}  // namespace

ObjectivePreset two_pass() {
  return {.make = [](const ObjectiveInput& input) -> std::unique_ptr<Objective> {
            return std::make_unique<TwoPass>(input.config);
          },
          // Besides both cross-entropies the two divergences.
          .costs = {.passes = 2, .losses = 2, .head_numbers = 2 * 3 + 2, .smoothing_numbers = 2},
          .compares_draws = true,
          .keys = parallel::own_keys_of<TwoPassConfig>};
}

}  // namespace moetrain
