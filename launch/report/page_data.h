// From the run's record to what the page draws.
// defines: page_data
#pragma once
#include <nlohmann/json.hpp>

#include "launch/report/run_record.h"

namespace launch::run_report {

/// The object that page.js reads: key numbers, thinned curves, load maps, routing maps, scores, notes.
nlohmann::ordered_json page_data(const RunRecord& run);

}  // namespace launch::run_report
