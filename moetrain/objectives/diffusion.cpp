#include "moetrain/objectives/diffusion.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/objectives/terms.h"
#include "moetrain/routers/draws.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"

namespace moetrain {
TokenSide wide_images(const Batch& batch, const Model& model) {
  TokenSide images = batch.inputs.tokens;
  const bool wide = model.parameters().front().scalar_type() == at::kDouble;
  images.value_TC = images.value_TC.to(wide ? at::kDouble : at::kFloat);
  return images;
}

at::Tensor noise_of(const TokenSide& images, const PassScope& pass) {
  const at::Tensor& value_GC = images.value_TC;
  return normal_draws(pass.draws.stream("diffusion noise", 0), images.first_token * value_GC.size(1), value_GC.sizes(),
                      value_GC.options());
}

at::Tensor normal_of_sequences(const TokenSide& images, const PassScope& pass, const char* purpose) {
  return normal_draws(pass.draws.stream(purpose, 0), images.first_sequence, {images.sequences.count()},
                      images.value_TC.options());
}

at::Tensor uniform_of_sequences(const TokenSide& images, const PassScope& pass, const char* purpose) {
  return uniform_draws(pass.draws.stream(purpose, 0), images.first_sequence, {images.sequences.count()},
                       images.value_TC.options());
}

at::Tensor with_class_dropout(const Batch& batch, const PassScope& pass, double dropout, int64_t classes) {
  const at::Tensor& class_S = batch.inputs.class_S;
  if (!pass.training || dropout == 0) return class_S;
  const at::Tensor drawn_S = uniform_of_sequences(batch.inputs.tokens, pass, "class dropout");
  return class_S.masked_fill(drawn_S < dropout, classes);
}

at::Tensor of_tokens(const at::Tensor& of_sequence_S, const Sequences& sequences) {
  return of_sequence_S.index_select(0, sequences.sequence_T().to(of_sequence_S.device())).unsqueeze(1);
}

ObjectiveOutput with_squares(LossTerms losses, const at::Tensor& square_T, ModelOutput output,
                             const UpdateScale& scale) {
  add_layer_losses(losses, output.losses, scale);
  return {.losses = std::move(losses), .nll_T = square_T.detach(), .routing = std::move(output.routing)};
}

GuidedModel::GuidedModel(Model& model, const at::Tensor& class_S, const ImageSampling& options)
    : model_(model), shape_(model.documents()), class_S_(class_S), options_(options) {}

at::Tensor GuidedModel::noise(int64_t step) const {
  const parallel::RandomStream stream(options_.seed, "sampled image", 0, step + 1);
  return normal_draws(stream, 0, {class_S_.size(0) * shape_.images->patches(), shape_.images->numbers()},
                      model_.parameters().front().options().requires_grad(false));
}

at::Tensor GuidedModel::predicted(const at::Tensor& value_TC, double time, int64_t guided) const {
  const at::Tensor asked_TC = predicted(value_TC, time, class_S_);
  if (options_.guidance == 1) return asked_TC;
  const at::Tensor free_TC = predicted(value_TC, time, at::full_like(class_S_, shape_.classes));
  const at::Tensor away_TC = (asked_TC - free_TC).narrow(1, 0, guided) * options_.guidance;
  const int64_t behind = asked_TC.size(1) - guided;
  return at::cat({free_TC.narrow(1, 0, guided) + away_TC, asked_TC.narrow(1, guided, behind)}, 1);
}

at::Tensor GuidedModel::images(const at::Tensor& value_TC) const {
  if (!value_TC.isfinite().all().item<bool>()) {
    parallel::user_error("the model's images are not finite: the run diverged, or the guidance (", options_.guidance,
                         ") is too strong");
  }
  return images_of(value_TC, *shape_.images);
}

at::Tensor GuidedModel::predicted(const at::Tensor& value_TC, double time, const at::Tensor& class_S) const {
  const int64_t images = class_S.size(0), patches = shape_.images->patches();
  const ModelInputs inputs{.tokens = {.value_TC = value_TC,
                                      .sequences = Sequences::uniform(images, patches, value_TC.device()),
                                      .global_tokens = images * patches,
                                      .global_sequences = images},
                           .time_S = at::full({images}, time, value_TC.options()),
                           .class_S = class_S};
  parallel::LocalCommunicator alone;
  return model_.forward(inputs, {.group = alone}).hidden_TD;
}

}  // namespace moetrain
