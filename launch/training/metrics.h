// defines: MetricsFile, record_of, start_record, tokens_by_source, mean_seconds: metrics.jsonl of a run folder, one
// JSON object a line
#pragma once
#include <filesystem>
#include <fstream>

#include "launch/batches/batches.h"
#include "launch/ranks/groups.h"
#include "launch/records/record_json.h"
#include "launch/runs/run_folder.h"
#include "launch/training/train_step.h"

namespace launch {

/// Written by one rank. Appends whole lines and flushes each; a line that a killed run left half-written is cut off
/// first. Numbers that are not finite are null.
class MetricsFile {
 public:
  explicit MetricsFile(const std::filesystem::path& path);
  /// Writes {"event": its name, ...fields}. A failure (a full disk) is kept for failed(): one rank writes, between
  /// collectives of all, so it may not throw there.
  template <class Event>
  void write(const Event& event) {
    write_line(Event::kEvent, record_to_json(event));
  }
  bool failed() const { return failed_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void write_line(const char* event, const RecordJson& fields);

  std::filesystem::path path_;
  std::ofstream file_;
  bool failed_ = false;
};

/// What an update says of itself; the loop adds what it counts over updates.
StepRecord record_of(const StepReport& report);
/// What begins, but for the model. `changes`: of a resumption; null: of a new run.
StartRecord start_record(const Recipe& recipe, const Groups& groups, int64_t update,
                         const std::vector<ChangedKey>* changes);
std::optional<NamedNumbers> tokens_by_source(const std::vector<SourceTokens>& sources);
/// Means over updates.
NamedNumbers mean_seconds(const PhaseSeconds& seconds, int64_t updates);

}  // namespace launch
