// defines: to_json, rank_from_json: the doctor's facts as they travel and as `--json` writes them
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "launch/doctor/facts.h"
#include "launch/doctor/warnings.h"

namespace launch {

nlohmann::json to_json(const RankFacts& rank);
RankFacts rank_from_json(const nlohmann::json& json);

/// Units stand in the names: *_seconds, *_bytes, *_us, *_gb_per_s.
nlohmann::json to_json(const JobFacts& job, const std::vector<Warning>& warnings);

}  // namespace launch
