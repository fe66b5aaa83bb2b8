// defines: MetricsFile, to_json: metrics.jsonl of a run folder, one JSON object a line
#pragma once
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>

#include "launch/training/train_step.h"

namespace launch {

/// Written by one rank. Appends whole lines and flushes each; a line that a killed run left half-written is cut off
/// first. Numbers that are not finite are null.
class MetricsFile {
 public:
  explicit MetricsFile(const std::filesystem::path& path);
  /// Writes {"event": event, ...fields}. A failure (a full disk) is kept for failed(): one rank writes, between
  /// collectives of all, so it may not throw there.
  void write(const char* event, const nlohmann::json& fields);
  bool failed() const { return failed_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  bool failed_ = false;
};

/// What an update says of itself in a line; the loop adds what it counts over updates.
nlohmann::json to_json(const StepReport& report);
/// Means over updates.
nlohmann::json to_json(const PhaseSeconds& seconds, int64_t updates);

}  // namespace launch
