// defines: gather_recording, summary_of: one update's tasks, of all ranks
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "launch/profiles/trace_file.h"
#include "launch/ranks/groups.h"
#include "launch/training/overlap.h"

namespace launch {

/// The traces of all ranks and what the profile, where there is one, predicted; on rank 0, the ranks' empty elsewhere.
/// Collective.
StepRecording gather_recording(const parallel::Trace& trace, int64_t update, const Overlap& overlap,
                               const Groups& groups);

/// The fields of the event "trace" of metrics.jsonl, of the last micro-batch: seconds are the slowest rank's, exposed
/// and hidden means over ranks, "ranks" has each with its resources.
nlohmann::json summary_of(const StepRecording& recording);

}  // namespace launch
