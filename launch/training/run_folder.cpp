#include "launch/training/run_folder.h"

#include <fstream>
#include <map>
#include <sstream>

#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

/// Keys that may change between a run and its resumption. A new train.length moves the rest of a schedule that looks at
/// the end; another layout, run.threads or train.recompute may change the last bits; data.file may move, but what it
/// holds may not (the checkpoint knows); the others move no number.
const std::vector<std::string> kMayChange{"run.folder",
                                          "overlap.schedule",
                                          "overlap.forward_chunks",
                                          "overlap.backward_chunks",
                                          "overlap.plan",
                                          "overlap.profile_seconds",
                                          "overlap.replan_every",
                                          "overlap.trace_update",
                                          "run.threads",
                                          "run.checks",
                                          "mesh.tensor",
                                          "mesh.expert",
                                          "mesh.expert_tensor",
                                          "mesh.experts_by_rank",
                                          "mesh.receive_bound",
                                          "mesh.dispatch",
                                          "mesh.zero",
                                          "train.length",
                                          "train.log_every",
                                          "train.recompute",
                                          "checkpoint.every",
                                          "checkpoint.keep",
                                          "evaluate.every",
                                          "evaluate.batch",
                                          "data.file"};

/// "section.key" -> value, from a resolved recipe's text.
std::map<std::string, std::string> keys_of(const std::string& text) {
  std::map<std::string, std::string> keys;
  std::istringstream lines(text);
  std::string line, section;
  while (std::getline(lines, line)) {
    if (line.starts_with("[")) section = line.substr(1, line.find(']') - 1);
    const size_t equals = line.find(" = ");
    if (equals != std::string::npos) keys[section + "." + line.substr(0, equals)] = line.substr(equals + 3);
  }
  return keys;
}

void check_same_run(const RunFolder& folder, const Recipe& recipe) {
  auto then = keys_of(write_recipe(read_run_recipe(folder)));
  auto now = keys_of(write_recipe(recipe));
  for (const std::string& key : kMayChange) {
    then.erase(key);
    now.erase(key);
  }
  std::vector<std::string> differing;
  for (const auto& [key, value] : now) {
    if (then[key] != value) differing.push_back(key + " (" + then[key] + " there, " + value + " now)");
  }
  if (differing.empty()) return;
  parallel::user_error(folder.path.string(), " holds a run of another recipe, so it cannot be resumed; different: ",
                       parallel::list_names(differing), "; legal: the same values, or another run.folder");
}

}  // namespace

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::error_code ignored, error;
  const auto status = std::filesystem::status(path, ignored);
  const bool in_place = std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);  // /dev/stdout
  const std::filesystem::path temporary = in_place ? path : std::filesystem::path(path.string() + ".writing");
  std::ofstream file(temporary, std::ios::binary);
  file << text << std::flush;
  file.close();
  if (file && !in_place) std::filesystem::rename(temporary, path, error);
  if (!file || error) {
    if (!in_place) std::filesystem::remove(temporary, ignored);
    parallel::user_error("cannot write ", path.string(),
                         error ? ": " + error.message() : " (disk full, or no permission?)");
  }
}

void open_run_folder(const RunFolder& folder, const Recipe& recipe, bool resume) {
  std::error_code error;
  if (std::filesystem::exists(folder.path, error)) {
    if (!resume) {
      parallel::user_error("run folder ", folder.path.string(), " exists; legal: --resume to go on with that run, ",
                           "another run.folder (--set run.folder=...), or remove it");
    }
    if (std::filesystem::exists(folder.recipe(), error)) check_same_run(folder, recipe);
  }
  std::filesystem::create_directories(folder.path, error);
  if (error) parallel::user_error("cannot make run folder ", folder.path.string(), ": ", error.message());
  write_file(folder.recipe(), write_recipe(recipe));
}

Recipe read_run_recipe(const RunFolder& folder, const std::vector<std::string>& overrides) {
  if (!std::filesystem::exists(folder.recipe())) {
    parallel::user_error(folder.path.string(), " is no run folder (no recipe.toml in it)");
  }
  Recipe recipe = read_recipe(folder.recipe(), overrides);
  check_rules(recipe);
  return recipe;
}

}  // namespace launch
