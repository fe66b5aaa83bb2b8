// What a run folder says about its run, as plain values.
// defines: RunRecord, read_run
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/profiles/trace_file.h"
#include "launch/records/records.h"

namespace launch::run_report {

struct RunRecord {
  std::string name;  // of the folder
  std::optional<StartRecord> start;
  std::vector<StageRecord> stages;            // by the step before them; none in a run without stages
  std::vector<StepRecord> steps;              // by step, each once
  std::vector<EvaluationRecord> evaluations;  // by step, each once
  std::vector<CheckpointRecord> checkpoints;
  std::vector<int64_t> resumes;
  std::optional<EndRecord> end;              // nothing while the run goes on, and after a kill
  std::optional<EvaluationFile> evaluation;  // evaluation.json
  std::optional<StepRecording> trace;        // trace.json
  std::optional<std::string> recipe;         // text of recipe.toml
  std::vector<int64_t> cut_lines;            // numbers of lines cut short by a kill, left out
};

/// Reads the folder. Events of other names are left out. A resume at step S discards what was logged after S
/// before it; of a step logged twice the later line wins. A line cut short is left out where a kill explains it:
/// the last of the file without a line end, or the one before a resume.
RunRecord read_run(const std::filesystem::path& run_folder);

}  // namespace launch::run_report
