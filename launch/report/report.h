// The report of a run: one offline HTML file that shows what metrics.jsonl and evaluation.json hold.
// defines: write_report
#pragma once
#include <filesystem>

namespace launch {

/// Reads metrics.jsonl, evaluation.json (optional) and recipe.toml (optional) of the run folder and writes
/// report.html there, under a temporary name first. The page needs no network and no other file.
/// A folder without metrics, and a malformed line or file, are a parallel::UserError naming file and line.
void write_report(const std::filesystem::path& run_folder);

}  // namespace launch
