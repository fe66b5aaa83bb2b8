// defines: RunFolder: the files of one run, and what may go on in it
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"

namespace launch {

struct RunFolder {
  std::filesystem::path path;
  std::filesystem::path recipe() const { return path / "recipe.toml"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path tokenizer() const { return path / "tokenizer.bin"; }
  std::filesystem::path plan() const { return path / "plan.json"; }
  std::filesystem::path profile() const { return path / "profile.json"; }
  std::filesystem::path trace() const { return path / "trace.json"; }
  std::filesystem::path evaluation() const { return path / "evaluation.json"; }
};

/// Makes the folder of a new run and writes the resolved recipe. An existing folder is a UserError unless `resume`;
/// then its recipe must be the same up to what may change in mid-run (lengths and intervals), else the UserError
/// names the keys that differ.
void open_run_folder(const RunFolder& folder, const Recipe& recipe, bool resume);

/// The resolved recipe of a run, with section.key=value overrides. UserError where the folder is none.
Recipe read_run_recipe(const RunFolder& folder, const std::vector<std::string>& overrides = {});

/// Writes a whole file under a temporary name, then renames it; a device or pipe is written into. UserError where that
/// fails.
void write_file(const std::filesystem::path& path, const std::string& text);

}  // namespace launch
