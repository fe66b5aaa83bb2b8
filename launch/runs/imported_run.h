// A Hugging Face folder becomes a run folder. defines: import_run, ImportOptions, recipe_of, files_of, own_tokenizer
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizers/tokenizer.h"
#include "launch/interchange/imported_model.h"
#include "launch/recipe/recipe.h"
#include "parallel/comm/communicator.h"

namespace launch {

/// A recipe whose model is that of the folder.
Recipe recipe_of(const interchange::ImportedModel& model, std::shared_ptr<const Registry> registry);

/// The small files of a Hugging Face folder whose keys an export gives back: config.json, generation_config.json.
std::map<std::string, std::string> files_of(const std::filesystem::path& folder);

/// Its tokenizer; null where it has none. UserError for one that has more tokens than the model's embedding `rows`.
std::shared_ptr<const data::Tokenizer> own_tokenizer(const std::filesystem::path& folder, int64_t rows);

struct ImportOptions {
  std::filesystem::path folder, run;
  std::vector<std::string> ignored_keys = {};  // of config.json
  std::shared_ptr<const Registry> registry;
};

/// Makes options.run: checkpoint of update 0 with the weights in the folder's own types, resolved recipe, tokenizer.
/// The folder's tensors are streamed: no rank holds more of them than a piece. Collective. Returns the checkpoint's
/// bytes. UserError: a run folder that exists; what ImportedModel and the recipe's rules refuse; no room on the disk.
int64_t import_run(const ImportOptions& options, parallel::Communicator& group);

}  // namespace launch
