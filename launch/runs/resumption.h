// defines: Loaded, load_newest_usable, describe_learning_rate_jump, DivergenceFacts, advice: where a run goes on
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/recipe.h"
#include "launch/runs/run_folder.h"
#include "parallel/base/span.h"

namespace launch {

/// The checkpoint that a run goes on from, and newer ones that cannot be used.
struct Loaded {
  struct Passed {
    std::filesystem::path checkpoint;
    std::string reason;
  };
  int64_t update = -1;  // -1: there is no checkpoint
  std::vector<Passed> passed;
};

/// Calls `load` with the newest checkpoint of the run, and with the one before where that throws UserError, and so on.
/// Where none can be loaded, the newest one's error is thrown. `load` calls no collective; `prepare`, before it, may,
/// and leaves what is wrong with the checkpoint to it. Collective over `group`.
Loaded load_newest_usable(const std::filesystem::path& run_folder, parallel::Communicator& group,
                          const std::function<void(const std::filesystem::path&)>& prepare,
                          const std::function<void(const std::filesystem::path&)>& load);

/// A sentence where the update after `update` of a recipe's own takes another learning rate than it would have by the
/// run's recipe so far, with both and the keys that did it; else empty.
std::string describe_learning_rate_jump(const Recipe& then, const Recipe& now, int64_t update,
                                        const parallel::SpanScale& scale);

/// Where a run stood when it diverged.
struct DivergenceFacts {
  int64_t update = 0;      // updates done
  int64_t begun = 0;       // of them, before this process
  int64_t saved = -1;      // newest checkpoint that --resume would take; -1: none
  int64_t before = -1;     // the one before that; -1: none
  std::string aside = {};  // what this process saved of the weights that diverged, renamed; empty: nothing
};

/// What its user can do about it.
std::string advice(const Recipe& recipe, const DivergenceFacts& facts);

}  // namespace launch
