// What gradients hold while backward goes on, bucket by bucket as GradientReducer makes them.
// defines: add_reductions
#pragma once
#include <vector>

#include "launch/planning/activation_peak.h"
#include "launch/planning/parameter_table.h"
#include "launch/planning/workload.h"

namespace launch {

/// Sets Stage::reduction and Stage::opened. A bucket opens with its first
/// gradient, is on the wire from the stage that completes it and all buckets before it, and has arrived a stage later
/// (ZeRO 1: what has arrived stays to the end of backward). Without ZeRO 2 it stays open to the end of the update: of
/// one of several micro-batches all are open before (StateMemory::gradients). With ZeRO 2 a bucket opens when the
/// stage's own gradients are there, and what it made on the way is gone.
void add_reductions(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                    std::vector<Stage>& stages);

}  // namespace launch
