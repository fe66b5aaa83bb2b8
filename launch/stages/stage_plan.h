// A run of stages as whole recipes one after another, all of them found legal before the first begins: surgery is
// planned on shapes alone. defines: PlannedStage, StageText, first_text, plan_stages, in_stage, stage_alone,
// StageHistory
#pragma once
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "launch/recipe/recipe.h"
#include "launch/recipe/stage_sections.h"
#include "launch/runs/stored_weights.h"
#include "parallel/base/fault.h"

namespace launch {

/// One turn of a stage; a stage that is repeated has several. A run without stages has one, without a name, whose
/// recipe is the run's.
struct PlannedStage {
  std::string name;
  Recipe recipe;               // of a run of its own, of the model as it is then
  Recipe before = {};          // the run's recipe as it was before the surgery: the parent's
  SurgeryConfig surgery = {};  // what is done before it
  int64_t vocabulary = 0;      // rows of its embedding
  int64_t updates = 0;         // its length, once its data is known

  std::vector<StoredWeights::Tensor> tensors = {};  // of its model, whole
  std::set<std::string> trained = {};               // of them
  std::set<std::string> kept = {};                  // of them those that the surgery leaves as they are
  /// "2 of 3, router"; empty for a run without stages.
  std::string title = {};
};

/// What planning needs to know of the data.
struct StageText {
  int64_t vocabulary = 0;           // of the first stage's model
  std::string tokenizer_hash = {};  // which other parents must share; empty: not known
};

/// As the first stage's token file says; nothing is opened for a run without stages.
StageText first_text(const Recipe& run);

/// The stages of a run in their turns. UserError, naming the stage, for whatever one of them would be refused for:
/// rules, layouts on `ranks`, patterns that fit nothing, nothing to train, surgery that does not fit, keys that would
/// change the weights' shapes without it. A run without stages is not looked at.
std::vector<PlannedStage> plan_stages(const Recipe& run, const StageText& text, int64_t ranks);

/// Runs the action; a UserError says of which stage (PlannedStage::title), of a run without stages the same as ever.
template <class Action>
auto in_stage(const std::string& title, const Action& action) {
  try {
    return action();
  } catch (const parallel::UserError& error) {
    if (title.empty()) throw;
    parallel::user_error("stage ", title, ": ", error.what());
  }
}

/// The recipe of the first turn of a stage, for commands that ask what a step of it takes; without a name that of a run
/// without stages. vocabulary: 0: as its token file has it. UserError where the name is none, or is wanted and not
/// given.
Recipe stage_alone(const Recipe& run, const std::string& stage, int64_t vocabulary, int64_t ranks);

/// Which stages a run has begun, and after which updates: what a checkpoint carries of it.
class StageHistory {
 public:
  struct Turn {
    std::string name;
    int64_t begin = 0;  // [updates]
  };
  /// "dense 0, moe 120", and back; text from outside: UserError.
  std::string to_text() const;
  static StageHistory from_text(const std::string& text, const std::string& place);
  /// UserError where these are not the first of `stages`.
  void check_begins(const std::vector<PlannedStage>& stages, const std::string& place) const;

  void add(const std::string& name, int64_t begin) { turns_.push_back({name, begin}); }
  size_t size() const { return turns_.size(); }
  /// The number of the stage at hand. @pre one has begun
  size_t now() const { return turns_.size() - 1; }
  int64_t begin() const { return turns_.back().begin; }

  /// Updates of earlier turns that read the same data in the same batches: the stage at hand goes on there.
  int64_t data_read_before(const std::vector<PlannedStage>& stages) const;
  /// Updates done when the optimizer's state of a parameter began: it goes on from stage to stage as long as the
  /// parameter is trained in each, and no surgery makes it anew.
  int64_t state_begin(const std::vector<PlannedStage>& stages, const std::string& name) const;

 private:
  std::vector<Turn> turns_;
};

}  // namespace launch
