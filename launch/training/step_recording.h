// defines: gather_recording, summary_of: one update's tasks, of all ranks
#pragma once
#include "launch/profiles/trace_file.h"
#include "launch/ranks/groups.h"
#include "launch/records/records.h"
#include "launch/training/overlap.h"

namespace launch {

/// The traces of all ranks and what the profile, where there is one, predicted; on rank 0, the ranks' empty elsewhere.
/// Collective.
StepRecording gather_recording(const parallel::Trace& trace, int64_t update, const Overlap& overlap,
                               const Groups& groups);

/// Of the last micro-batch.
TraceRecord summary_of(const StepRecording& recording);

}  // namespace launch
