// defines: timeline_data: a recorded step as the page draws it
#pragma once
#include <nlohmann/json.hpp>

#include "launch/profiles/trace_file.h"

namespace launch::run_report {

inline constexpr size_t kDrawnRanks = 8;
inline constexpr size_t kDrawnTasks = 2000;  // of one rank; the longest

/// Of the last micro-batch, in milliseconds since it began; shares in seconds.
nlohmann::ordered_json timeline_data(const StepRecording& recording);

}  // namespace launch::run_report
