// defines: Device: on what the ranks of a run compute
#pragma once
#include <array>

namespace launch {

/// kCpu: MPI between ranks; kCuda: one GPU a rank, NCCL between them.
enum class Device { kCpu, kCuda };
constexpr std::array<const char*, 2> names_of(Device) { return {"cpu", "cuda"}; }

}  // namespace launch
