// What a run minimizes.
// defines: Objective, Batch, ObjectiveOutput, UpdateScale, ObjectiveInput, ObjectiveCosts, TeacherFit, ObjectivePreset,
// ImageSampling, ImageSampler, builtin_objectives, likelihood
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "moetrain/models/model.h"
#include "moetrain/objectives/objective_config.h"
#include "parallel/base/name_table.h"

namespace moetrain {

/// This rank's part of a micro-batch; its G tokens are shared by the ranks of a tensor group.
struct Batch {
  ModelInputs inputs;
  at::Tensor targets_G;  // int64, of inputs.tokens or their sequences; OutputHead::kIgnored where there is none
  Rows predicts = Rows::kTokens;
};

struct ObjectiveOutput {
  LossTerms losses;      // shares of the update's loss
  at::Tensor nll_T;      // -log p(target) of this rank's part of the targets, no gradient
  at::Tensor correct_T;  // bool: nothing is more probable; undefined in training
  std::vector<LayerRouting> routing;
};

/// Losses of tokens are averaged over the counted targets of the whole update, the layers' own over its micro-batches.
struct UpdateScale {
  int64_t targets = 1;  // counted targets of the update: all micro-batches, all ranks
  int64_t micro_batches = 1;
};

class Objective {
 public:
  virtual ~Objective() = default;
  /// Collective over the pass's group.
  virtual ObjectiveOutput forward(Model& model, const Batch& batch, const PassScope& pass,
                                  const UpdateScale& scale) const = 0;
  /// What held-out targets are judged by, nll_T and correct_T: the likelihood, unless the objective has another
  /// measure. Nothing is drawn but by place. Collective.
  virtual ObjectiveOutput score(Model& model, const Batch& batch, const PassScope& pass) const;
};

/// What an objective is made from.
struct ObjectiveInput {
  const ObjectiveConfig& config;
  std::shared_ptr<Model> teacher;                   // of distillation, whole on every rank; null elsewhere
  std::shared_ptr<const parallel::Mesh> mesh = {};  // that the student is spread over; null: this rank
};

using ObjectiveMaker = std::unique_ptr<Objective> (*)(const ObjectiveInput& input);

/// What an objective asks beyond one pass of the model and its cross-entropy: for planning.
struct ObjectiveCosts {
  int64_t passes = 1;             // of the model over each batch
  int64_t losses = 1;             // terms of its own
  int64_t head_numbers = 3;       // of each token, summed over the parts of a vocabulary: maximum, sum, target's logit
  int64_t smoothing_numbers = 1;  // likewise, where targets are smoothed
  int64_t head_tables = 0;        // of logits, in a chunk of the head, beside those of the passes
};

/// A teacher, and whom it shall teach.
struct TeacherFit {
  const ModelConfig& teacher;
  const MoeConfig& teacher_moe;
  const ModelConfig& model;
  const MoeConfig& moe;
};

/// How images are drawn.
struct ImageSampling {
  int64_t steps = 50;
  /// Classifier-free (Ho and Salimans 2022): the prediction without a class plus so many times what the class adds; 1:
  /// the class alone.
  double guidance = 1.5;
  uint64_t seed = 1;
};

/// From noise an image of each class of class_S, [S, H, W, C] in about [-1, 1]; image s is a function of (seed, s, its
/// class) alone. UserError where the model's predictions are not finite.
using ImageSampler = at::Tensor (*)(Model& model, const ObjectiveConfig& objective, const at::Tensor& class_S,
                                    const ImageSampling& options);

struct ObjectivePreset {
  ObjectiveMaker make = nullptr;
  ObjectiveCosts costs = {};
  bool compares_draws = false;  // of its passes, which are equal where nothing is drawn
  /// Of models that say what noise was added, which this objective is for, and for no others; null: for all others.
  ImageSampler sample = nullptr;
  bool variances = false;  // such a model predicts those of the steps too
  /// Run folder of the frozen model that it learns from; null: there is none.
  std::string (*teacher)(const ObjectiveConfig& config) = nullptr;
  /// UserError where a model of these is none that it can be for, or that teacher none for it; null: any will do.
  void (*check_pupil)(const ModelConfig& model, const MoeConfig& moe) = nullptr;
  void (*check_teacher)(const TeacherFit& fit) = nullptr;
  /// What only this objective knows: its own table [objective.NAME] in a recipe, and what it refuses of it.
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const ObjectiveConfig& config) = nullptr;
};

/// next_token: -log p(target), smoothed by label_smoothing: of the next token or, a classifier's, of the class.
ObjectivePreset next_token();
/// In two_pass.h, distillation.h and pre_gate_objective.h.
ObjectivePreset two_pass();
ObjectivePreset distillation();
ObjectivePreset pre_gate_objective();

/// A program outside the tree adds its own rows.
parallel::NameTable<ObjectivePreset> builtin_objectives();

/// -log p of every target, as evaluation wants it: no smoothing, nothing drawn. Collective.
ObjectiveOutput likelihood(Model& model, const Batch& batch, const PassScope& pass);

}  // namespace moetrain
