// trace.json: a step in Chrome's trace format, which Perfetto and chrome://tracing open and the report draws.
// defines: StepRecording, to_text, step_from_text, trace_to_text, read_trace
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/profiles/step_trace.h"

namespace launch {

struct StepRecording {
  int64_t update = 0;
  std::vector<StepTrace> ranks;        // from the first on; each has its own clock
  std::optional<StepTrace> predicted;  // of the last micro-batch, from where the first rank began it
};

/// A file keeps so many tasks and leaves out the last ranks of a large job, but not the first.
inline constexpr size_t kMostTracedTasks = 50'000;

/// What a rank sends to the one that writes.
std::string to_text(const StepTrace& step);
StepTrace step_from_text(const std::string& text);

/// One process for each rank, and "predicted"; in each a thread for compute, one for the link inside a host and one for
/// the link between hosts, and further ones where exchanges of one link overlap. Times in microseconds.
std::string trace_to_text(const StepRecording& recording);

/// UserError where it is none of trace_to_text's, or too large.
StepRecording read_trace(const std::filesystem::path& path);

}  // namespace launch
