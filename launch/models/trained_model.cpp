#include "launch/models/trained_model.h"

#include <ATen/ATen.h>

#include "launch/models/model_builder.h"
#include "launch/ranks/processor.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/run_tokenizer.h"
#include "launch/runs/token_file.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/local_communicator.h"

namespace launch {
namespace {

/// The newest `count` checkpoints up to `update`, newest first.
std::vector<int64_t> newest_updates(const std::filesystem::path& run_folder, int64_t update, int64_t count) {
  std::vector<int64_t> all = checkpoint_updates(run_folder);
  std::erase_if(all, [&](int64_t there) { return there > update; });
  if (static_cast<int64_t>(all.size()) < count) {
    parallel::user_error(run_folder.string(), " holds ", all.size(), " checkpoints up to update ", update,
                         ", fewer than the ", count, " to average; legal: --average 1 to ", all.size(),
                         ", or a run with checkpoint.keep = ", count);
  }
  return {all.rbegin(), all.rbegin() + count};
}

/// Sums in float64, so that the order does not matter to a float32 weight.
void read_average(moetrain::Model& model, const Recipe& recipe, const std::filesystem::path& run_folder,
                  const std::vector<int64_t>& updates) {
  const std::vector<CheckpointTensor> tensors = parameter_tensors(model, recipe.optimizer.average > 0);
  if (updates.size() == 1) return read_checkpoint(checkpoint_path(run_folder, updates.front()), tensors);
  std::vector<at::Tensor> sums(tensors.size());
  for (const int64_t update : updates) {
    read_checkpoint(checkpoint_path(run_folder, update), tensors);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const at::Tensor value = tensors[i].tensor.detach().to(at::kDouble);
      sums[i] = sums[i].defined() ? sums[i] + value : value;
    }
  }
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < tensors.size(); ++i) {
    at::Tensor weight = tensors[i].tensor;
    weight.copy_(sums[i] / static_cast<double>(updates.size()));
  }
}

int64_t longest_sequence(const Recipe& recipe) {
  return recipe.model_preset().reads == moetrain::Reads::kText ? recipe.data.sequence_length : recipe.data.longest;
}

}  // namespace

std::shared_ptr<const data::Tokenizer> tokenizer_of(const std::filesystem::path& run_folder, const Recipe& recipe,
                                                    const CheckpointInfo& info, const std::string& data_file) {
  if (info.tokenizer_hash.empty() && data_file.empty()) return nullptr;
  auto kept =
      data_file.empty() ? read_tokenizer({run_folder}, info.tokenizer_hash, recipe.registry->tokenizers) : nullptr;
  if (kept != nullptr) return kept;
  return open_token_file(run_folder, recipe, info, data_file, data::Verify::kIndexOnly).shared_tokenizer();
}

TrainedModel load_trained_model(const std::filesystem::path& run_folder, int64_t update, at::Device device,
                                const LoadOptions& options) {
  read_run_recipe({run_folder}, {}, options.registry);  // whether it is a run at all
  if (update < 0) parallel::user_error(run_folder.string(), " holds no checkpoint yet");
  CheckpointInfo info = read_checkpoint_info(checkpoint_path(run_folder, update));
  Recipe recipe = read_recipe_at({run_folder}, info, options.overrides, options.registry);
  auto tokenizer = tokenizer_of(run_folder, recipe, info, options.data_file);
  auto model = build_model(recipe, info.vocabulary, device);
  read_average(*model, recipe, run_folder, newest_updates(run_folder, update, options.average));
  const int64_t longest = longest_sequence(read_recipe_at({run_folder}, info, {}, options.registry));
  return {std::move(recipe), std::move(info), std::move(tokenizer), std::move(model), longest};
}

TrainedModel load_whole_model(const std::filesystem::path& run_folder, const std::string& data_file,
                              std::shared_ptr<const Registry> registry, const std::string& update) {
  parallel::LocalCommunicator alone;
  TrainedModel trained = load_trained_model(run_folder, chosen_update(run_folder, update, alone), at::kCPU,
                                            {.data_file = data_file, .registry = std::move(registry)});
  use_processor(trained.recipe.run);
  return trained;
}

const data::Tokenizer& tokenizer_of(const TrainedModel& trained) {
  if (trained.tokenizer == nullptr) {
    parallel::user_error(
        "the run has no tokenizer: the folder that its model was imported from had none; legal: --data ",
        "with a token file of the model's tokenizer");
  }
  return *trained.tokenizer;
}

moetrain::BeamOptions beam_options(const TrainedModel& trained) {
  return {.beam = trained.recipe.evaluate.beam,
          .length_penalty = trained.recipe.evaluate.length_penalty,
          .end_token = tokenizer_of(trained).end_of_text(),
          .start_token = trained.recipe.model.start_token};
}

}  // namespace launch
