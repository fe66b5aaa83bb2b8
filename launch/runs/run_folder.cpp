#include "launch/runs/run_folder.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "launch/records/records.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

/// Keys that may change between a run and its resumption. A new train.length moves the rest of a schedule that looks at
/// the end; the schedule (and the optimizer's numbers) are what a run that diverges needs changed; another layout or
/// device, run.threads or train.recompute may change the last bits; data.file may move, but what it holds may not (the
/// checkpoint knows); the others move no number.
const std::vector<std::string> kMayChange{"run.folder",
                                          "run.device",
                                          "run.deterministic",
                                          "run.threads",
                                          "run.keep_memory",
                                          "run.matrix_products",
                                          "run.checks",
                                          "overlap.schedule",
                                          "overlap.forward_chunks",
                                          "overlap.backward_chunks",
                                          "overlap.plan",
                                          "overlap.profile_seconds",
                                          "overlap.replan_every",
                                          "overlap.trace_update",
                                          "mesh.tensor",
                                          "mesh.expert",
                                          "mesh.expert_tensor",
                                          "mesh.experts_by_rank",
                                          "mesh.receive_bound",
                                          "mesh.dispatch",
                                          "mesh.zero",
                                          "train.length",
                                          "train.stages",
                                          "train.start",
                                          "train.log_every",
                                          "train.recompute",
                                          "checkpoint.every",
                                          "checkpoint.keep",
                                          "checkpoint.keep_best",
                                          "evaluate.every",
                                          "evaluate.batch",
                                          "evaluate.patience",
                                          "evaluate.beam",
                                          "evaluate.length_penalty",
                                          "data.file"};

/// "train.length" of "stage.first.train.length": a stage's key may change as the run's may. (Of stages that have begun,
/// names and order may not; checkpoints know.)
std::string key_of_run(const std::string& key) {
  if (!key.starts_with("stage.")) return key;
  return key.substr(key.find('.', std::string_view("stage.").size()) + 1);
}

/// What moves the weights may be told otherwise; another rule would need another state.
bool may_change(const std::string& name) {
  const std::string key = key_of_run(name);
  if (key.starts_with("schedule.")) return true;
  if (key.starts_with("optimizer.")) return key != "optimizer.kind";
  return std::ranges::find(kMayChange, key) != kMayChange.end();
}

/// Whether it is a key of a stage that the recipe has. Not of a surgery's own table, which whoever has read the recipe
/// has whole.
bool is_of_stage(const Recipe& recipe, const std::string& name) {
  return std::ranges::any_of(recipe.stages, [&](const StageOverlay& stage) {
    const std::string before = "stage." + stage.name + ".", surgery = before + "surgery.";
    const bool of_table = name.starts_with(surgery) && name.find('.', surgery.size()) != std::string::npos;
    return name.starts_with(before) && !of_table;
  });
}

void check_same_run(const RunFolder& folder, const Recipe& then, const Recipe& now) {
  std::vector<std::string> differing;
  for (const ChangedKey& key : changed_keys(then, now)) {
    if (!may_change(key.name)) differing.push_back(key.describe());
  }
  if (differing.empty()) return;
  parallel::user_error(folder.path.string(), " holds a run of another recipe, so it cannot be resumed; different: ",
                       parallel::list_names(differing), "; legal: the same values, or another run.folder");
}

/// Also where its checkpoints have been removed since.
bool has_saved(const RunFolder& folder) {
  if (!checkpoint_updates(folder.path).empty()) return true;
  std::ifstream metrics(folder.metrics());
  const std::string saved = parallel::concat("{\"event\":\"", CheckpointRecord::kEvent, "\"");
  for (std::string line; std::getline(metrics, line);) {
    if (line.starts_with(saved)) return true;
  }
  return false;
}

/// A file that no run makes, or nothing.
std::string foreign_file(const RunFolder& folder) {
  const std::vector<std::string> of_runs{"checkpoints", "lock",       "metrics.jsonl", "plan.json",    "profile.json",
                                         "recipe.toml", "trace.json", "hugging_face",  "tokenizer.bin"};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path, error)) {
    const std::string name = entry.path().filename();
    if (!name.ends_with(".writing") && std::ranges::find(of_runs, name) == of_runs.end()) return name;
  }
  return {};
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

std::string ChangedKey::describe() const { return name + " (" + then + " there, " + now + " now)"; }

std::vector<ChangedKey> changed_keys(const Recipe& then, const Recipe& now) {
  const auto of_then = written_keys(then), of_now = written_keys(now);
  const std::map<std::string, std::string> before(of_then.begin(), of_then.end());
  std::vector<ChangedKey> changed;
  for (const auto& [name, value] : of_now) {
    const auto found = before.find(name);
    if (found == before.end()) {  // of another choice or stage, which is a change of its own
      if (is_of_stage(then, name)) changed.push_back({name, "as the run", value});
      continue;
    }
    if (name != "run.folder" && found->second != value) changed.push_back({name, found->second, value});
  }
  const std::map<std::string, std::string> after(of_now.begin(), of_now.end());
  for (const auto& [name, value] : of_then) {
    if (!after.contains(name) && is_of_stage(now, name)) changed.push_back({name, value, "as the run"});
  }
  return changed;
}

std::optional<Recipe> check_run_folder(const RunFolder& folder, const Recipe& recipe, bool resume) {
  const bool saved = has_saved(folder);
  if (saved && !resume) {
    parallel::user_error("run folder ", folder.path.string(), " exists and holds a run; legal: --resume to go on with ",
                         "it, another run.folder (--set run.folder=...), or remove it");
  }
  if (const std::string foreign = foreign_file(folder); !saved && !resume && !foreign.empty()) {
    parallel::user_error("run folder ", folder.path.string(), " exists and is no run's (it holds ", foreign,
                         "); legal: another run.folder (--set run.folder=...), --resume to begin in it, or remove it");
  }
  std::error_code error;
  if (!saved || !std::filesystem::exists(folder.recipe(), error)) return {};
  Recipe then = read_run_recipe(folder, {}, recipe.registry);
  check_same_run(folder, then, recipe);
  return then;
}

void forget_attempt(const RunFolder& folder) {
  std::error_code ignored;
  for (const auto& path : {folder.plan(), folder.profile(), folder.trace(), folder.products()})
    std::filesystem::remove(path, ignored);
  std::filesystem::remove_all(folder.came_with(), ignored);
}

Recipe read_run_recipe(const RunFolder& folder, const std::vector<std::string>& overrides,
                       std::shared_ptr<const Registry> registry) {
  if (!std::filesystem::exists(folder.recipe())) {
    parallel::user_error(folder.path.string(), " is no run folder (no recipe.toml in it)");
  }
  Recipe recipe = read_recipe(folder.recipe(), overrides, {.registry = std::move(registry), .any_version = true});
  check_rules(recipe);
  return recipe;
}

Recipe read_recipe_at(const RunFolder& folder, const CheckpointInfo& info, const std::vector<std::string>& overrides,
                      std::shared_ptr<const Registry> registry) {
  if (info.stages.empty()) return read_run_recipe(folder, overrides, std::move(registry));
  const std::string place = "the recipe in " + checkpoint_path(folder.path, info.update).string();
  Recipe recipe = parse_recipe(info.recipe, place, overrides, {.registry = std::move(registry), .any_version = true});
  check_rules(recipe);
  return recipe;
}

}  // namespace launch
