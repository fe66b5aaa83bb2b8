#include "launch/runs/token_file.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// Where the file may lie now, apart from where the recipe says: beside the folder (as from the working directory of
/// training, where run.folder tells which that was) and in it.
std::vector<fs::path> other_places(const fs::path& run_folder, const Recipe& recipe) {
  const fs::path folder = fs::weakly_canonical(run_folder), file = recipe.data.file;
  std::vector<fs::path> places;
  if (file.is_relative()) {
    fs::path origin = folder;
    const fs::path below = fs::path(recipe.run.folder).lexically_normal();
    for (const fs::path& part : below) {
      if (below.is_relative() && !part.empty() && part != "..") origin = origin.parent_path();
    }
    places = {origin / file, folder.parent_path() / file};
  }
  places.push_back(folder.parent_path() / file.filename());
  places.push_back(folder / file.filename());
  for (fs::path& place : places) place = place.lexically_normal();
  return places;
}

/// The first of the places that holds the text with this fingerprint.
std::optional<fs::path> find_text(const std::vector<fs::path>& places, const std::string& fingerprint,
                                  const data::TokenizerTable& tokenizers) {
  for (const fs::path& place : places) {
    if (!is_there(place)) continue;
    try {
      const auto corpus = data::TokenCorpus::open(place, data::Verify::kIndexOnly, tokenizers);
      if (corpus.fingerprint() == fingerprint) return place;
    } catch (const parallel::UserError&) {  // another file of that name, which nobody named
    }
  }
  return std::nullopt;
}

[[noreturn]] void not_found(const fs::path& run_folder, const Recipe& recipe, const std::vector<fs::path>& places) {
  std::vector<std::string> looked;
  for (const fs::path& place : places) {
    if (std::ranges::find(looked, place.string()) == looked.end()) looked.push_back(place.string());
  }
  parallel::user_error("the token file of ", run_folder.string(), ", data.file = \"", recipe.data.file,
                       "\", is not there, nor is its text at ", parallel::list_names(looked),
                       "; legal: --data with the place where it is now");
}

fs::path find_token_file(const fs::path& run_folder, const Recipe& recipe, const CheckpointInfo& info) {
  const fs::path file = recipe.data.file;
  const data::TokenizerTable& tokenizers = recipe.registry->tokenizers;
  const auto fingerprint = [&] {
    return data::TokenCorpus::open(file, data::Verify::kIndexOnly, tokenizers).fingerprint();
  };
  if (is_there(file) && fingerprint() == info.corpus) return file;
  const std::vector<fs::path> places = other_places(run_folder, recipe);
  if (const auto found = find_text(places, info.corpus, tokenizers)) return *found;
  if (!is_there(file)) not_found(run_folder, recipe, places);
  return file;
}

}  // namespace

data::TokenCorpus open_token_file(const std::filesystem::path& run_folder, const Recipe& recipe,
                                  const CheckpointInfo& info, const std::string& named, data::Verify verify) {
  const fs::path path = named.empty() ? find_token_file(run_folder, recipe, info) : fs::path(named);
  data::TokenCorpus corpus = data::TokenCorpus::open(path, verify, recipe.registry->tokenizers);
  const bool same = info.tokenizer_hash.empty() || corpus.tokenizer_hash() == info.tokenizer_hash;
  if (same && model_vocabulary(recipe, corpus.tokenizer()) == info.vocabulary) return corpus;
  parallel::user_error(path.string(), " was made with another tokenizer (", corpus.tokenizer_hash(), ") than ",
                       checkpoint_path(run_folder, info.update).string(), " was trained with (", info.tokenizer_hash,
                       ")");
}

int64_t model_vocabulary(const Recipe& recipe, const data::Tokenizer& tokenizer) {
  const int64_t tokens = tokenizer.vocabulary_size(), rows = recipe.model.vocabulary;
  if (rows == 0) return tokens;
  if (tokens <= rows) return rows;
  parallel::user_error(
      "model.vocabulary = ", rows, ", but the tokenizer of ", recipe.data.file, " has ", tokens,
      " tokens; legal: the token file of the model's own tokenizer, or model.vocabulary = 0 for a new one");
}

}  // namespace launch
