#include "launch/commands/trained_model.h"

#include <ATen/Parallel.h>

#include "launch/training/model_builder.h"
#include "launch/training/run_folder.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"

namespace launch {

TrainedModel load_trained_model(const std::filesystem::path& run_folder, int64_t update, const std::string& data_file,
                                at::Device device) {
  Recipe recipe = read_run_recipe({run_folder});
  if (update < 0) parallel::user_error(run_folder.string(), " holds no checkpoint yet");
  const std::filesystem::path checkpoint = checkpoint_path(run_folder, update);
  CheckpointInfo info = read_checkpoint_info(checkpoint);
  if (!data_file.empty()) recipe.data.file = data_file;
  data::TokenCorpus corpus = data::TokenCorpus::open(recipe.data.file);
  const bool same =
      corpus.tokenizer_hash() == info.tokenizer_hash && corpus.tokenizer().vocabulary_size() == info.vocabulary;
  if (!same) {
    parallel::user_error(recipe.data.file, " was made with another tokenizer (", corpus.tokenizer_hash(), ") than ",
                         checkpoint.string(), " was trained with (", info.tokenizer_hash, ")");
  }
  at::set_num_threads(static_cast<int>(recipe.run.threads));
  auto model = build_model(recipe, info.vocabulary, device);
  read_checkpoint(checkpoint, parameter_tensors(*model));
  return {std::move(recipe), std::move(info), std::move(corpus), std::move(model)};
}

TrainedModel load_newest_model(const std::filesystem::path& run_folder) {
  parallel::LocalCommunicator alone;
  return load_trained_model(run_folder, newest_update(run_folder, alone), "", at::kCPU);
}

}  // namespace launch
