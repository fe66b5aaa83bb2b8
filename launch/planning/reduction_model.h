// What ZeRO's reductions hold while backward goes on, bucket by bucket as GradientReducer makes them.
// defines: add_reductions
#pragma once
#include <vector>

#include "launch/planning/activation_model.h"
#include "launch/planning/parameter_table.h"

namespace launch {

/// Sets Stage::reduction: bytes that are there when the stage's backward has ended. A bucket opens with its first
/// gradient (ZeRO 2), is on the wire from the stage that completes it and all buckets before it, and has arrived a
/// stage later (ZeRO 1: what has arrived stays to the end of backward).
void add_reductions(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                    std::vector<Stage>& stages);

}  // namespace launch
