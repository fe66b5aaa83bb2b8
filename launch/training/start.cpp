#include "launch/training/start.h"

#include <algorithm>

#include "launch/runs/start_point.h"
#include "launch/stages/seam.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

void check_tokenizer(const StartPoint& start, const TrainingSetup& setup) {
  const std::string& theirs = start.tokenizer_hash();
  const std::string& ours = setup.corpus->tokenizer_hash();
  if (theirs.empty() || theirs == ours) return;
  parallel::user_error("train.start = \"", setup.recipe.train.start, "\" was trained with another tokenizer (", theirs,
                       ") than that of ", setup.recipe.data.file, " (", ours,
                       "); legal: a token file that `moetrain prepare --tokenizer` made with the model's own");
}

/// A router's rows of tasks go by the place of a name in tasks.names.
void check_tasks(const StartPoint& start, const Recipe& recipe) {
  const moetrain::ModelConfig& model = start.recipe().model;
  const auto layers = moetrain::all_layer_configs(start.recipe().moe, moetrain::total_blocks(model));
  const auto has_rows = [](const moetrain::MoeConfig& layer) { return layer.task_bias; };
  const std::vector<std::string> theirs = data::task_names(start.recipe().tasks);
  if (std::ranges::none_of(layers, has_rows) || theirs == data::task_names(recipe.tasks)) return;
  parallel::user_error("train.start = \"", recipe.train.start, "\" has routers with a bias for each of its tasks, ",
                       parallel::list_names(theirs), "; legal: tasks.names in that order");
}

/// What the start has something for. Adapters begin as drawn where it has none; its own may not be lost.
std::vector<CheckpointTensor> held_by(const StartPoint& start, const TrainingSetup& setup,
                                      std::vector<CheckpointTensor> tensors) {
  const moetrain::LoraConfig &theirs = start.recipe().lora, &ours = setup.recipe.lora;
  if (!theirs.on()) {
    const moetrain::Adapters& adapters = setup.state.model->adapters();
    std::erase_if(tensors, [&](const CheckpointTensor& tensor) {
      return adapters.has_parameter(tensor.path.substr(tensor.path.find('/') + 1));
    });
  } else if (theirs != ours) {
    parallel::user_error("train.start = \"", setup.recipe.train.start, "\" has adapters, lora.layers = \"",
                         theirs.layers, "\", rank = ", theirs.rank, ", alpha = ", theirs.alpha,
                         ", and this recipe says otherwise; legal: the same [lora], or as the start the folder that ",
                         "`moetrain export` makes of that run, in which they are merged");
  }
  return tensors;
}

}  // namespace

std::map<std::string, std::string> read_start(TrainingSetup& setup, const PlannedStage& first,
                                              const std::vector<CheckpointTensor>& tensors) {
  if (setup.recipe.train.start.empty()) return {};
  std::map<std::string, std::string> came_with;
  parallel::all_ranks(*setup.groups.control, [&] {
    const StartPoint start = open_start(setup.recipe.train.start, setup.recipe.registry);
    check_tokenizer(start, setup);
    check_tasks(start, setup.recipe);
    if (first.surgery.any()) {
      operate_on({setup.recipe.train.start, start.tokenizer_hash()}, first, tensors);
    } else {
      start.read(held_by(start, setup, tensors));
    }
    came_with = start.came_with();
  });
  setup.state.optimizer->begin();
  setup.state.reducer->gather_parameters();
  return came_with;
}

}  // namespace launch
