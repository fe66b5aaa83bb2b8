#include "moetrain/objectives/distillation.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/terms.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

class Distillation : public Objective {
 public:
  explicit Distillation(const ObjectiveInput& input)
      : label_smoothing_(input.config.label_smoothing),
        own_(input.config.own<DistillationConfig>()),
        teacher_(input.teacher),
        mesh_(input.mesh) {}

  ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                          const UpdateScale& scale) const override {
    ModelOutput output = model.forward(batch.inputs, pass);
    const HeadLoss loss = head_loss(model, output.hidden_TD, batch, pass, scale);
    LossTerms losses;
    add_head_loss(losses, batch, loss, "distillation");
    return with_layers(std::move(losses), loss, std::move(output), scale);
  }

 private:
  /// Outside of the weight's window the teacher is not asked.
  HeadLoss head_loss(const Model& model, const at::Tensor& hidden_TD, const Batch& batch, const PassScope& pass,
                     const UpdateScale& scale) const {
    const TargetTokens targets = targets_of(batch, scale, label_smoothing_);
    const double weight = own_.weight.at(pass.update);
    if (weight == 0) return model.head().cross_entropy(hidden_TD, targets);
    return model.head().distillation(
        hidden_TD, {teacher_hidden(batch, pass), teacher_->head(), weight, own_.temperature}, targets);
  }

  /// Of all tokens of the batch. Every rank of a tensor group asks the whole teacher for them, so what the teacher
  /// takes over the micro-batch it takes over one rank of each group.
  at::Tensor teacher_hidden(const Batch& batch, const PassScope& pass) const {
    parallel::check_internal(teacher_ != nullptr, "distillation without a teacher");
    const at::NoGradGuard no_gradient;
    const bool groups = mesh_ != nullptr && mesh_->shape().tensor > 1;
    const PassScope evaluating{.group = groups ? mesh_->data() : pass.group,
                               .draws = pass.draws,
                               .update = pass.update,
                               .earlier_choices = pass.earlier_choices};
    return teacher_->forward(batch.inputs, evaluating).hidden_TD;
  }

  double label_smoothing_;
  DistillationConfig own_;
  std::shared_ptr<Model> teacher_;
  std::shared_ptr<const parallel::Mesh> mesh_;
};

void check_teacher(const ObjectiveConfig& config) {
  if (!config.own<DistillationConfig>().teacher.empty()) return;
  parallel::user_error("objective.kind = \"distillation\" needs objective.distillation.teacher, the run folder of a ",
                       "trained model");
}

}  // namespace

ObjectivePreset distillation() {
  return {.make = [](const ObjectiveInput& input) -> std::unique_ptr<Objective> {
            return std::make_unique<Distillation>(input);
          },
          // Besides the cross-entropy two softmaxes at the temperature, and the divergence.
          .costs = {.losses = 2, .head_numbers = 3 + 2 * 2 + 1, .head_tables = 4},
          .teacher = [](const ObjectiveConfig& config) { return config.own<DistillationConfig>().teacher; },
          .keys = parallel::own_keys_of<DistillationConfig>,
          .check = check_teacher};
}

}  // namespace moetrain
