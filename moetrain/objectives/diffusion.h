// defines: wide_images, noise_of, normal_of_sequences, uniform_of_sequences, with_class_dropout, of_tokens,
// with_squares, DiffusionObjective, GuidedModel: what diffusion objectives share
#pragma once
#include "moetrain/models/model.h"
#include "moetrain/objectives/objective.h"

namespace moetrain {

// S sequences (images) and G tokens (patches) of the tensor group, C numbers of a patch

/// What a model of images is given, in at least float32 and float64 where the model is: noise is mixed in that.
TokenSide wide_images(const Batch& batch, const Model& model);

/// Of standard normal draws by global index: [G, C], in the dtype of the images.
at::Tensor noise_of(const TokenSide& images, const PassScope& pass);

/// One number a sequence by global index: normal, [S]; uniform in (0, 1), [S].
at::Tensor normal_of_sequences(const TokenSide& images, const PassScope& pass, const char* purpose);
at::Tensor uniform_of_sequences(const TokenSide& images, const PassScope& pass, const char* purpose);

/// The classes, in training each with probability `dropout` the one that stands for none (the number `classes`), so
/// that the model learns both for classifier-free guidance (Ho and Salimans 2022).
at::Tensor with_class_dropout(const Batch& batch, const PassScope& pass, double dropout, int64_t classes);

/// A number of each sequence as one of each of its tokens: [S] -> [G, 1].
at::Tensor of_tokens(const at::Tensor& of_sequence_S, const Sequences& sequences);

/// The objective's own terms, then the layers'; what is scored of each token is a mean square, [T].
ObjectiveOutput with_squares(LossTerms losses, const at::Tensor& square_T, ModelOutput output,
                             const UpdateScale& scale);

/// Held-out images are scored by what is minimized, with times and noise drawn by place.
class DiffusionObjective : public Objective {
 public:
  ObjectiveOutput score(Model& model, const Batch& batch, const PassScope& pass) const final {
    return forward(model, batch, pass, {});
  }
};

/// A model while images are drawn from it: what it predicts for some classes, with guidance.
class GuidedModel {
 public:
  /// @pre the model reads images
  GuidedModel(Model& model, const at::Tensor& class_S, const ImageSampling& options);

  /// [S N, C]: where each image begins, or of a step.
  at::Tensor noise(int64_t step = -1) const;
  /// `time`: in [0, 1], of the noise. The first `guided` numbers of a patch with guidance, what stands behind them as
  /// the class alone has it.
  at::Tensor predicted(const at::Tensor& value_TC, double time, int64_t guided) const;
  /// [S N, C] -> [S, H, W, C]. UserError where they are not finite.
  at::Tensor images(const at::Tensor& value_TC) const;

 private:
  at::Tensor predicted(const at::Tensor& value_TC, double time, const at::Tensor& class_S) const;

  Model& model_;
  DocumentShape shape_;  // with images
  at::Tensor class_S_;
  ImageSampling options_;
};

}  // namespace moetrain
