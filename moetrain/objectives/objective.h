// defines: Objective, Batch, ObjectiveOutput, UpdateScale, builtin_objectives: what a run minimizes
#pragma once
#include <memory>
#include <vector>

#include "moetrain/models/model.h"
#include "moetrain/objectives/objective_config.h"
#include "parallel/base/name_table.h"

namespace moetrain {

/// This rank's part of a micro-batch; its G tokens are shared by the ranks of a tensor group.
struct Batch {
  ModelInputs inputs;
  at::Tensor targets_G;  // int64, of inputs.tokens; OutputHead::kIgnored where there is none
};

struct ObjectiveOutput {
  LossTerms losses;  // shares of the update's loss
  at::Tensor nll_T;  // -log p(target) of this rank's tokens, no gradient
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
};

/// What an objective is made from.
struct ObjectiveInput {
  const ObjectiveConfig& config;
  std::shared_ptr<Model> teacher;                   // of distillation, whole on every rank; null elsewhere
  std::shared_ptr<const parallel::Mesh> mesh = {};  // that the student is spread over; null: this rank
};

using ObjectiveMaker = std::unique_ptr<Objective> (*)(const ObjectiveInput& input);

/// next_token: -log p(next token), smoothed by label_smoothing.
std::unique_ptr<Objective> next_token(const ObjectiveInput& input);

/// two_pass: the same batch twice, with independent draws (experts, dropout, noise): both passes' cross-entropies and
/// `consistency` times the symmetric KL divergence of their predictions, logged as "consistency". THOR (Zuo et al.
/// 2022): no gradient is stopped, both passes teach and learn. The layers' losses of both passes are added.
std::unique_ptr<Objective> two_pass(const ObjectiveInput& input);

/// distillation: cross-entropy plus `distillation` times the KL divergence from a frozen teacher at `temperature`,
/// logged as "distillation" (Hinton et al. 2015; MoS, Rajbhandari et al. 2022, lets its teacher go
/// before the end).
std::unique_ptr<Objective> distillation(const ObjectiveInput& input);

parallel::NameTable<ObjectiveMaker> builtin_objectives();

/// -log p of every target, as evaluation wants it: no smoothing, nothing drawn. Collective.
ObjectiveOutput likelihood(Model& model, const Batch& batch, const PassScope& pass);

}  // namespace moetrain
