// defines: page_notes, layer_label, kPhaseColumns: what a reader of the page should know of it
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/report/run_record.h"

namespace launch::run_report {

inline constexpr size_t kPhaseColumns = 60;  // of the time chart: bars wide enough to point at

/// Of a layer of experts: its block's number, or "3, attention".
template <class Record>
nlohmann::json layer_label(const Record& record) {
  return record.slot ? nlohmann::json(layer_name(record.layer, record.slot)) : nlohmann::json(record.layer);
}

/// Sentences: what was resumed, cut short, not finite, or thinned.
std::vector<std::string> page_notes(const RunRecord& run);

}  // namespace launch::run_report
