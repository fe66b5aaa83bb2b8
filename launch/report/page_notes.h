// defines: page_notes, kPhaseColumns: what a reader of the page should know of it
#pragma once
#include <string>
#include <vector>

#include "launch/report/run_record.h"

namespace launch::run_report {

inline constexpr size_t kPhaseColumns = 60;  // of the time chart: bars wide enough to point at

/// Sentences: what was resumed, cut short, not finite, or thinned.
std::vector<std::string> page_notes(const RunRecord& run);

}  // namespace launch::run_report
