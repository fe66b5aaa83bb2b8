// defines: MetricsFile, record_of, mean_seconds: metrics.jsonl of a run folder, one JSON object a line
#pragma once
#include <filesystem>
#include <fstream>

#include "launch/records/record_json.h"
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
/// Means over updates.
NamedNumbers mean_seconds(const PhaseSeconds& seconds, int64_t updates);

}  // namespace launch
