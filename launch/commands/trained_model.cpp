#include "launch/commands/trained_model.h"

#include <ATen/Parallel.h>

#include "launch/training/model_builder.h"
#include "launch/training/run_folder.h"
#include "parallel/base/fault.h"

namespace launch {

TrainedModel load_trained_model(const std::filesystem::path& run_folder, const std::string& data_file, at::Device device) {
  Recipe recipe = read_run_recipe({run_folder});
  const auto checkpoint = newest_checkpoint(run_folder);
  if (!checkpoint) parallel::user_error(run_folder.string(), " holds no checkpoint yet");
  CheckpointInfo info = read_checkpoint_info(*checkpoint);
  if (!data_file.empty()) recipe.data.file = data_file;
  data::TokenCorpus corpus = data::TokenCorpus::open(recipe.data.file);
  if (corpus.tokenizer_hash() != info.tokenizer_hash) {
    parallel::user_error(recipe.data.file, " was made with another tokenizer (", corpus.tokenizer_hash(), ") than ",
                         checkpoint->string(), " was trained with (", info.tokenizer_hash, ")");
  }
  at::set_num_threads(static_cast<int>(recipe.run.threads));
  auto model = build_model(recipe, info.vocabulary, device);
  read_checkpoint(*checkpoint, parameter_tensors(*model));
  return {std::move(recipe), std::move(info), std::move(corpus), std::move(model)};
}

}  // namespace launch
