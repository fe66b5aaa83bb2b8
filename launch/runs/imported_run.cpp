#include "launch/runs/imported_run.h"

#include <optional>

#include "data/datasets/token_corpus.h"
#include "data/tokenizers/model_tokenizer.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "launch/runs/build_id.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/run_lock.h"
#include "launch/runs/run_tokenizer.h"
#include "launch/runs/start_point.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

std::vector<StreamedTensor> streams(const interchange::ImportedModel& model) {
  std::vector<StreamedTensor> all;
  for (const auto& parameter : model.parameters()) {
    all.push_back({.path = (parameter.is_buffer ? "buffers/" : "parameters/") + parameter.name,
                   .shape = parameter.shape,
                   .type = scalar_type_of(parameter.dtype),
                   .read = [&model, &parameter](const parallel::ElementRange& elements, void* out) {
                     model.read(parameter.name, elements, parameter.dtype, out);
                   }});
  }
  return all;
}

/// Before anything is made, with both numbers.
void check_room(const fs::path& run, const std::vector<StreamedTensor>& tensors) {
  double needed = 0;
  for (const StreamedTensor& tensor : tensors) {
    double bytes = static_cast<double>(c10::elementSize(tensor.type));
    for (const int64_t dim : tensor.shape) bytes *= static_cast<double>(dim);
    needed += bytes;
  }
  std::error_code error;
  fs::path there = fs::absolute(run).lexically_normal();
  while (!there.empty() && !fs::exists(there, error) && there != there.parent_path()) there = there.parent_path();
  const auto room = static_cast<double>(fs::space(there, error).available);
  if (error || needed <= room) return;
  parallel::user_error("the checkpoint takes ", needed / 1e9, " GB, and the disk of ", run.string(), " has ",
                       room / 1e9, " GB left");
}

}  // namespace

std::shared_ptr<const data::Tokenizer> own_tokenizer(const fs::path& folder, int64_t rows) {
  std::error_code ignored;
  bool any = false;
  for (const char* const name : {"tokenizer.json", "tokenizer.model", "spiece.model"}) {
    any = any || fs::exists(folder / name, ignored);
  }
  if (!any) return nullptr;
  auto tokenizer = data::read_model_tokenizer(folder);
  if (tokenizer->vocabulary_size() > rows) {
    parallel::user_error(folder.string(), ": its tokenizer has ", tokenizer->vocabulary_size(),
                         " tokens, vocab_size in config.json is ", rows, ": they do not belong together");
  }
  return tokenizer;
}

Recipe recipe_of(const interchange::ImportedModel& model, std::shared_ptr<const Registry> registry) {
  Recipe recipe;
  recipe.registry = std::move(registry);
  recipe.model = model.shape().model;
  recipe.model.vocabulary = model.shape().vocabulary_size;
  recipe.moe = model.shape().moe;
  for (const std::string& loss : recipe.registry->losses.names()) recipe.moe.losses.try_emplace(loss);
  return recipe;
}

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const char* const name : {"config.json", "generation_config.json"}) {
    std::error_code ignored;
    if (fs::exists(folder / name, ignored))
      files[name] = interchange::read_small_file(folder / name, interchange::kLargestSmallFile);
  }
  return files;
}

int64_t import_run(const ImportOptions& options, parallel::Communicator& group) {
  const RunFolder run{options.run};
  std::optional<interchange::ImportedModel> model;
  Recipe recipe;
  std::vector<StreamedTensor> tensors;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::unique_ptr<RunLock> lock;  // on rank 0
  parallel::all_ranks(group, [&] {
    model.emplace(options.folder, options.ignored_keys);
    recipe = recipe_of(*model, options.registry);
    recipe.run.folder = options.run.string();
    check_rules(recipe);
    tensors = streams(*model);
    tokenizer = own_tokenizer(options.folder, recipe.model.vocabulary);
    if (group.rank() != 0) return;
    check_room(options.run, tensors);
    lock = std::make_unique<RunLock>(options.run);
    check_run_folder(run, recipe, /*resume=*/false);
  });
  const CheckpointInfo info{.vocabulary = model->shape().vocabulary_size,
                            .tokenizer_hash = tokenizer != nullptr ? data::tokenizer_hash(*tokenizer) : "",
                            .corpus = "",
                            .recipe = write_recipe(recipe),
                            .plan = "",
                            .build = build_id()};
  // What a checkpoint is read by comes first: a folder with a checkpoint is a run.
  parallel::all_ranks(group, [&] {
    if (group.rank() != 0) return;
    keep_came_with(options.run, files_of(options.folder));
    if (tokenizer != nullptr) keep_tokenizer(run, *tokenizer);
    write_file(run.recipe(), info.recipe);
  });
  return stream_checkpoint(checkpoint_path(options.run, 0), info, tensors, group);
}

}  // namespace launch
