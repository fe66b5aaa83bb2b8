#include "launch/runs/imported_run.h"

#include <optional>

#include "data/tokenizers/model_tokenizer.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/runs/new_run.h"
#include "parallel/base/fault.h"

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
  std::optional<interchange::ImportedModel> model;
  return make_run(
      options.run,
      [&] {
        model.emplace(options.folder, options.ignored_keys);
        NewRun run{.recipe = recipe_of(*model, options.registry), .tensors = streams(*model)};
        run.keep_tokenizer(own_tokenizer(options.folder, run.recipe.model.vocabulary));
        run.came_with = files_of(options.folder);
        return run;
      },
      group);
}

}  // namespace launch
