// A profile is of calls, a plan of layers: two passes call each layer twice.
// defines: plan_of, predicted, contention_of
#pragma once
#include <cstdint>
#include <string>

#include "launch/profiles/profile.h"
#include "parallel/schedule/simulate.h"

namespace launch {

/// What the schedule of that name (builtin_schedules) makes of the profile, for a model of so many expert layers.
/// Layers called twice take the chunks of their first forward and of the backward that completes their gradients, and
/// release what both calls would. UserError where the profile calls a layer that the model has not.
parallel::Plan plan_of(const std::string& schedule, const Profile& profile, int64_t layers);

/// A profiled step under a plan of layers, simulated. A layer called twice releases gradients at the last of its
/// backwards; what the plan releases beyond what has come up is left for later.
/// @pre the plan has no layers, or all that the profile calls
parallel::Timeline predicted(const Profile& profile, const parallel::Plan& plan);

/// The share by which compute and exchanges are slower beside each other for a step under `plan` to take `seconds`; the
/// profile's own is not looked at. 0 where it took no longer than predicted without, at most 1. What a step in
/// overlapping pieces takes longer than its parts alone is in it: cores that carry exchanges, and chunks that wait for
/// the rank that has more of them.
double contention_of(Profile profile, const parallel::Plan& plan, double seconds);

}  // namespace launch
