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
    ObjectiveOutput result;
    result.losses.add("next_token", loss.share);
    add_layer_losses(result.losses, output.losses, scale);
    result.nll_T = loss.nll_T;
    result.routing = std::move(output.routing);
    return result;
  }

 private:
  double label_smoothing_;
};

}  // namespace

std::unique_ptr<Objective> next_token(const ObjectiveInput& input) {
  return std::make_unique<NextToken>(input.config.label_smoothing);
}

ObjectiveOutput likelihood(Model& model, const Batch& batch, const PassScope& pass) {
  return NextToken(/*label_smoothing=*/0).forward(model, batch, pass, {});
}

}  // namespace moetrain
