// defines: RunFolder, ChangedKey, changed_keys, check_run_folder, forget_attempt, read_run_recipe, read_recipe_at,
// write_file: the files of one run, and what may go on in it
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/recipe/recipe.h"

namespace launch {

struct RunFolder {
  std::filesystem::path path;
  std::filesystem::path recipe() const { return path / "recipe.toml"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path tokenizer() const { return path / "tokenizer.bin"; }
  std::filesystem::path chat() const { return path / "chat.json"; }
  std::filesystem::path plan() const { return path / "plan.json"; }
  std::filesystem::path profile() const { return path / "profile.json"; }
  std::filesystem::path products() const { return path / "products.json"; }
  std::filesystem::path trace() const { return path / "trace.json"; }
  std::filesystem::path came_with() const { return path / "hugging_face"; }  // a folder; see StartPoint
  std::filesystem::path evaluation() const { return path / "evaluation.json"; }
};

/// A key of a recipe with two values.
struct ChangedKey {
  std::string name, then, now;
  /// "train.length (20u there, 40u now)"
  std::string describe() const;
};

/// Every key whose value differs, but for run.folder.
std::vector<ChangedKey> changed_keys(const Recipe& then, const Recipe& now);

/// Whether `recipe` may begin in this folder, or go on there with `resume`. Changes nothing. Gives the recipe of the
/// run that it goes on with; nullopt where none has saved anything: an attempt that ended before is in nobody's way.
/// UserError where a run has saved, or files lie that are no run's, and not `resume`; and where that run's recipe
/// differs in a key that may not change in mid-run, naming those.
std::optional<Recipe> check_run_folder(const RunFolder& folder, const Recipe& recipe, bool resume);

/// Removes what an attempt left that a run which begins anew could take for its own: plan, profile, trace and products.
void forget_attempt(const RunFolder& folder);

/// The resolved recipe of a run, with section.key=value overrides. UserError where the folder is none.
Recipe read_run_recipe(const RunFolder& folder, const std::vector<std::string>& overrides,
                       std::shared_ptr<const Registry> registry);

/// The recipe of one of its checkpoints: the run's, or of a run of stages that of the stage which the checkpoint is of.
Recipe read_recipe_at(const RunFolder& folder, const CheckpointInfo& info, const std::vector<std::string>& overrides,
                      std::shared_ptr<const Registry> registry);

/// Writes a whole file under a temporary name, then renames it; a device or pipe is written into. UserError where that
/// fails.
void write_file(const std::filesystem::path& path, const std::string& text);

}  // namespace launch
