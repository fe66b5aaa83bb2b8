// defines: describe_records
#pragma once
#include <string>

namespace launch {

/// What `moetrain report --records` prints: each event of metrics.jsonl, and evaluation.json, with its fields and what
/// they mean.
std::string describe_records();

}  // namespace launch
