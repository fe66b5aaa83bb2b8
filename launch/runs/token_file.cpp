#include "launch/runs/token_file.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

bool is_there(const std::vector<data::TokenFile>& files) {
  return std::ranges::all_of(files, [](const data::TokenFile& file) {
    std::error_code error;
    return fs::exists(file.path, error);
  });
}

/// Where a file may lie now, apart from where the recipe says: beside the folder (as from the working directory of
/// training, where run.folder tells which that was) and in it.
std::vector<fs::path> other_places(const fs::path& run_folder, const Recipe& recipe, const fs::path& file) {
  const fs::path folder = fs::weakly_canonical(run_folder);
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

/// The files of data.file, all together, at each kind of place.
std::vector<std::vector<data::TokenFile>> files_elsewhere(const fs::path& run_folder, const Recipe& recipe,
                                                          const std::vector<data::TokenFile>& files) {
  std::vector<std::vector<data::TokenFile>> places;
  for (size_t f = 0; f < files.size(); ++f) {
    const std::vector<fs::path> of_file = other_places(run_folder, recipe, files[f].path);
    // Counted from the last, which both kinds of path have.
    if (f == 0) places.assign(of_file.size(), files);
    for (size_t p = 0; p < std::min(places.size(), of_file.size()); ++p) {
      places[places.size() - 1 - p][f].path = of_file[of_file.size() - 1 - p].string();
    }
  }
  return places;
}

/// The first of the places that holds the text with this fingerprint.
std::optional<std::string> find_text(const std::vector<std::vector<data::TokenFile>>& places,
                                     const std::string& fingerprint, const data::TokenizerTable& tokenizers) {
  for (const std::vector<data::TokenFile>& files : places) {
    if (!is_there(files)) continue;
    try {
      std::string text = data::token_files_text(files);
      const auto mixture = data::TokenMixture::open(text, data::Verify::kIndexOnly, tokenizers);
      if (mixture.fingerprint() == fingerprint) return text;
    } catch (const parallel::UserError&) {  // another file of that name, which nobody named
    }
  }
  return std::nullopt;
}

[[noreturn]] void not_found(const fs::path& run_folder, const Recipe& recipe,
                            const std::vector<std::vector<data::TokenFile>>& places) {
  std::vector<std::string> looked;
  for (const std::vector<data::TokenFile>& files : places) {
    const std::string text = data::token_files_text(files);
    if (std::ranges::find(looked, text) == looked.end()) looked.push_back(text);
  }
  parallel::user_error("the token file of ", run_folder.string(), ", data.file = \"", recipe.data.file,
                       "\", is not there, nor is its text at ", parallel::list_names(looked),
                       "; legal: --data with the place where it is now");
}

std::string find_token_file(const fs::path& run_folder, const Recipe& recipe, const CheckpointInfo& info) {
  const std::vector<data::TokenFile> files = data::parse_token_files(recipe.data.file);
  const data::TokenizerTable& tokenizers = recipe.registry->tokenizers;
  const auto fingerprint = [&] {
    return data::TokenMixture::open(recipe.data.file, data::Verify::kIndexOnly, tokenizers).fingerprint();
  };
  if (is_there(files) && fingerprint() == info.corpus) return recipe.data.file;
  const auto places = files_elsewhere(run_folder, recipe, files);
  if (const auto found = find_text(places, info.corpus, tokenizers)) return *found;
  if (!is_there(files)) not_found(run_folder, recipe, places);
  return recipe.data.file;
}

}  // namespace

data::TokenMixture open_token_file(const std::filesystem::path& run_folder, const Recipe& recipe,
                                   const CheckpointInfo& info, const std::string& named, data::Verify verify) {
  const std::string files = named.empty() ? find_token_file(run_folder, recipe, info) : named;
  data::TokenMixture mixture = data::TokenMixture::open(files, verify, recipe.registry->tokenizers);
  const bool same = info.tokenizer_hash.empty() || mixture.tokenizer_hash() == info.tokenizer_hash;
  if (same && model_vocabulary(recipe, mixture.tokenizer()) == info.vocabulary) return mixture;
  parallel::user_error(files, " was made with another tokenizer (", mixture.tokenizer_hash(), ") than ",
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
