// A plan as JSON: in the run folder, beside a checkpoint, or written by hand.
// defines: plan_to_json, plan_from_json, read_plan_file, write_plan_file
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "parallel/schedule/plan.h"

namespace launch {

/// {"name": "planned", "overlap": true, "one_link": false, "release": "planned", "slice_bytes": 0, "layers":
/// [{"forward_chunks": 3, "backward_chunks": 5, "moe_gradient_bytes": 0, "dense_gradient_bytes": 4096}, ...]}
nlohmann::ordered_json plan_to_json(const parallel::Plan& plan);

/// Absent keys keep their defaults. An unknown key, a value of another kind or out of its range, or gradient bytes in a
/// plan whose release is not "planned", is a UserError with place, value and what would be legal. `place` begins it.
parallel::Plan plan_from_json(const nlohmann::json& json, const std::string& place);

/// A file that is not there or no JSON is a UserError too.
parallel::Plan read_plan_file(const std::filesystem::path& path);
void write_plan_file(const std::filesystem::path& path, const parallel::Plan& plan);

}  // namespace launch
