// defines: stage_data
#pragma once
#include <nlohmann/json.hpp>

#include "launch/report/run_record.h"

namespace launch::run_report {

/// For each stage of the run its name, seam (the updates before it), length, surgery, and what its model is; an empty
/// list for a run without stages.
nlohmann::ordered_json stage_data(const RunRecord& run);

}  // namespace launch::run_report
