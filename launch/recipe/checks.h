// defines: Checks: what a run makes sure of while it goes on
#pragma once
#include <array>

namespace launch {

/// kCollectives: ranks agree on each collective before it starts (parallel/comm/checked_communicator.h).
enum class Checks { kOff, kCollectives };
constexpr std::array<const char*, 2> names_of(Checks) { return {"off", "collectives"}; }

}  // namespace launch
