// What a training step costs on the ranks at hand: links and experts measured alone, the rest read off a traced step.
// defines: Profile, ExpertSize, profile_of, to_text, profile_to_json, profile_from_json
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "parallel/schedule/costs.h"
#include "parallel/schedule/trace.h"

namespace launch {

struct Profile {
  std::string machine;  // what it holds for: processor, ranks, layout, threads, precision
  parallel::StepModel model;
  /// Which expert layer each of the model's layers is a call of: two passes call each twice.
  std::vector<int64_t> layer_of_call;
  double seconds = 0;  // of an update's last micro-batch in one piece, to the end of its sums, as traced
};

/// What computes a layer's rows.
struct ExpertSize {
  double multiply_adds_of_row = 0;
  int64_t matrices = 0;
};

/// The dense parts, bytes and gradients of a traced update in one piece (its last micro-batch), without lines. Each
/// call of an expert layer is a layer of the model, in the order of forward. experts: by layer.
Profile profile_of(const parallel::Trace& trace, const std::vector<ExpertSize>& experts);

/// Lines with their r2, then layers.
std::string to_text(const Profile& profile);

nlohmann::ordered_json profile_to_json(const Profile& profile);
/// UserError with place, value and what would be legal.
Profile profile_from_json(const nlohmann::json& json, const std::string& place);

}  // namespace launch
