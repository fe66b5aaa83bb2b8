// defines: TrainedModel, load_trained_model, load_whole_model, model_as, tokenizer_of: checkpoint ->
// model
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizers/tokenizer.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/recipe.h"
#include "moetrain/decoding/beam_search.h"
#include "moetrain/models/model.h"
#include "parallel/base/fault.h"

namespace launch {

struct TrainedModel {
  Recipe recipe;
  CheckpointInfo info;
  std::shared_ptr<const data::Tokenizer> tokenizer;  // null: an imported model without one
  std::shared_ptr<moetrain::Model> model;
  int64_t longest = 0;  // tokens of the longest sequence (of pairs: side) that training read, whatever the overrides
};

/// What to use otherwise than the run did.
struct LoadOptions {
  std::string data_file = {};               // a token file with the tokenizer; empty: what the run folder keeps
  std::vector<std::string> overrides = {};  // section.key=value; those that change the model make its weights misfit
  int64_t average = 1;                      // mean of the weights of the newest so many checkpoints up to the update
  std::shared_ptr<const Registry> registry = builtin_registry();
};

/// `update`: which checkpoint, as newest_update() gives it. UserError where the folder holds no run or no checkpoint
/// (or fewer than `average`), or the tokenizer is another one. The token file is looked for only where it is named, or
/// where an older run folder keeps no tokenizer. Threads and memory stay as they are: a teacher does not decide for its
/// student.
TrainedModel load_trained_model(const std::filesystem::path& run_folder, int64_t update, at::Device device,
                                const LoadOptions& options = {});

/// A run's model on the CPU and its recipe's threads, for a command that runs once. `data_file`: as in LoadOptions;
/// `update`: as chosen_update takes it.
TrainedModel load_whole_model(const std::filesystem::path& run_folder, const std::string& data_file,
                              std::shared_ptr<const Registry> registry, const std::string& update = {});

/// The model as one of a kind. UserError, naming what is needed, where it is of another kind.
template <class Kind>
Kind& model_as(const TrainedModel& trained, const char* needed) {
  auto* model = dynamic_cast<Kind*>(trained.model.get());
  if (model == nullptr) {
    parallel::user_error("the run's model.kind is \"", trained.recipe.model.kind, "\"; this needs ", needed);
  }
  return *model;
}

/// The tokenizer of a run, kept in its folder or in a token file (`data_file`, else the recipe's); null where an
/// imported model has none.
std::shared_ptr<const data::Tokenizer> tokenizer_of(const std::filesystem::path& run_folder, const Recipe& recipe,
                                                    const CheckpointInfo& info, const std::string& data_file);

/// UserError where the run has none.
const data::Tokenizer& tokenizer_of(const TrainedModel& trained);

/// As the run's recipe says.
moetrain::BeamOptions beam_options(const TrainedModel& trained);

}  // namespace launch
