// defines: measure_profile: what a step costs on the ranks at hand
#pragma once
#include <string>
#include <vector>

#include "launch/profiles/profile.h"
#include "launch/recipe/overlap_config.h"
#include "launch/training/train_step.h"

namespace launch {

/// Measures for about OverlapConfig::profile_seconds: each collective over the group that uses it, at the sizes of this
/// recipe; the experts' multiplications on ranges of their rows; the dense parts, by rehearsing the update of `batches`
/// in one piece; and the contention, by rehearsing it in overlapping pieces, on GPUs with a carve-out of `carve_out`
/// multiprocessors too, which the profile has where it is faster. Every rank gets the slowest rank's numbers. Leaves
/// weights, optimizer and draws as they were. Collective.
Profile measure_profile(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets,
                        const Groups& groups, const std::string& machine, const OverlapConfig& config);

}  // namespace launch
