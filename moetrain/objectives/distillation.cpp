#include <ATen/ATen.h>

#include <utility>

#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/terms.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

class Distillation : public Objective {
 public:
  explicit Distillation(const ObjectiveInput& input) : config_(input.config), teacher_(input.teacher) {
    parallel::check_internal(teacher_ != nullptr, "distillation without a teacher");
  }

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    ModelOutput output = model.forward(batch.inputs, pass);
    const HeadLoss loss = head_loss(model, output.hidden_TD, batch, pass, scale);
    LossTerms losses;
    add_head_loss(losses, loss, "distillation");
    return with_layers(std::move(losses), loss, std::move(output), scale);
  }

 private:
  /// Outside of the weight's window the teacher is not asked.
  HeadLoss head_loss(const Model& model, const at::Tensor& hidden_TD, const Batch& batch, const PassScope& pass,
                     const UpdateScale& scale) const {
    const TargetTokens targets = targets_of(batch, scale, config_.label_smoothing);
    const double weight = config_.distillation.at(pass.update);
    if (weight == 0) return model.head().cross_entropy(hidden_TD, targets);
    return model.head().distillation(
        hidden_TD, {teacher_hidden(batch, pass), teacher_->head(), weight, config_.temperature}, targets);
  }

  at::Tensor teacher_hidden(const Batch& batch, const PassScope& pass) const {
    const at::NoGradGuard no_gradient;
    PassScope evaluating = pass;
    evaluating.training = false;
    return teacher_->forward(batch.inputs, evaluating).hidden_TD;
  }

  ObjectiveConfig config_;
  std::shared_ptr<Model> teacher_;
};

}  // namespace

std::unique_ptr<Objective> distillation(const ObjectiveInput& input) { return std::make_unique<Distillation>(input); }

}  // namespace moetrain
