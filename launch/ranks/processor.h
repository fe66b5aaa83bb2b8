// defines: use_processor
#pragma once
#include "launch/recipe/run_config.h"

namespace launch {

/// Compute threads and the memory of tensors of this process as a run has them: run.threads, run.keep_memory
/// (parallel/memory/kept_memory.h). Memory once kept stays kept, whatever a later run says.
void use_processor(const RunConfig& run);

}  // namespace launch
