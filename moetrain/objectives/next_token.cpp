#include <utility>

#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/terms.h"

namespace moetrain {
namespace {

class NextToken : public Objective {
 public:
  explicit NextToken(double label_smoothing) : label_smoothing_(label_smoothing) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    ModelOutput output = model.forward(batch.inputs, pass);
    const HeadLoss loss = model.head().cross_entropy(output.hidden_TD, targets_of(batch, scale, label_smoothing_));
    LossTerms losses;
    losses.add(cross_entropy_name(batch), loss.share);
    return with_layers(std::move(losses), loss, std::move(output), scale);
  }

 private:
  double label_smoothing_;
};

}  // namespace

ObjectivePreset next_token() {
  return {.make = [](const ObjectiveInput& input) -> std::unique_ptr<Objective> {
    return std::make_unique<NextToken>(input.config.label_smoothing);
  }};
}

ObjectiveOutput Objective::score(Model& model, const Batch& batch, const PassScope& pass) const {
  return likelihood(model, batch, pass);
}

ObjectiveOutput likelihood(Model& model, const Batch& batch, const PassScope& pass) {
  return NextToken(/*label_smoothing=*/0).forward(model, batch, pass, {});
}

}  // namespace moetrain
