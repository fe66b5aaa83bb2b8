#include <ATen/ATen.h>

#include <utility>

#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/terms.h"

namespace moetrain {
namespace {

class TwoPass : public Objective {
 public:
  explicit TwoPass(const ObjectiveConfig& config)
      : label_smoothing_(config.label_smoothing), consistency_(config.consistency) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    PassScope second = pass;
    second.draws.pass = pass.draws.pass + 1;
    ModelOutput p = model.forward(batch.inputs, pass), q = model.forward(batch.inputs, second);
    const HeadLoss loss = model.head().two_pass(p.hidden_TD, q.hidden_TD, targets_of(batch, scale, label_smoothing_),
                                                consistency_.at(pass.update));
    LossTerms losses;
    add_head_loss(losses, loss, "consistency");
    ObjectiveOutput result = with_layers(std::move(losses), loss, std::move(p), scale);
    add_layer_losses(result.losses, q.losses, scale);
    return result;
  }

 private:
  double label_smoothing_;
  parallel::Weight consistency_;
};

}  // namespace

std::unique_ptr<Objective> two_pass(const ObjectiveInput& input) { return std::make_unique<TwoPass>(input.config); }

}  // namespace moetrain
