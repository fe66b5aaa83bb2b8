// defines: RunPart, TrainingSetup, check_memory, check_teacher, physical_memory: what updates are made of, built from a
// recipe
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "data/datasets/token_mixture.h"
#include "launch/batches/batches.h"
#include "launch/profiles/profile.h"
#include "launch/ranks/groups.h"
#include "launch/training/train_step.h"

namespace launch {

/// Which part of a run a recipe is; of a run without stages all of it.
struct RunPart {
  int64_t begin = 0;       // updates of the run before it
  int64_t data_begin = 0;  // updates of the same data that the run has read before it
  std::function<int64_t(const std::string& name)> state_begin = {};  // StageHistory::state_begin; null: 0 for all
  data::Verify verify = data::Verify::kTokens;                       // of the text, on one rank
};

/// UserError where weights, gradients and optimizer state do not fit into a rank's share of its host.
void check_memory(const Recipe& recipe, int64_t vocabulary, int64_t ranks, int64_t rank);
/// UserError where the objective learns from a run that is none.
void check_teacher(const Recipe& recipe);

/// Text, batches, model, reducer and optimizer of a recipe on the ranks of `groups`; no run folder.
class TrainingSetup {
 public:
  /// Reads what can be refused: the text, the teacher of a distillation, the memory there is. UserError, on all ranks.
  /// Collective.
  TrainingSetup(const Recipe& recipe, Groups groups, at::Device device, const RunPart& part = {});
  /// The rest; weights as the seed has them. Collective.
  void build();

  /// What an update's step costs here: about overlap.profile_seconds, changes nothing (measure_profile). Collective.
  Profile profile(int64_t update);
  std::vector<MicroBatch> to_own_device(const std::vector<MicroBatch>& read) const;
  /// Rows of the model's embedding.
  int64_t vocabulary() const;
  /// What a profile holds for.
  std::string machine() const;
  int64_t updates_of(const parallel::Span& span) const { return parallel::to_updates(span, scale); }

  const Recipe recipe;
  const Groups groups;
  const at::Device device;
  const RunPart part;
  std::unique_ptr<data::TokenMixture> corpus;
  std::unique_ptr<TrainingBatches> batches;
  parallel::SpanScale scale;
  int64_t length = 0;  // updates of the run after which its part is done
  TrainState state;

 private:
  std::shared_ptr<moetrain::Model> load_teacher() const;

  std::shared_ptr<moetrain::Model> teacher_;  // until build
};

/// [byte] of this host.
double physical_memory();

}  // namespace launch
