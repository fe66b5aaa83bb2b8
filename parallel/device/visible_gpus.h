// defines: gpu_of_rank
#pragma once
#include <cstdint>

namespace parallel {

/// The number, among those that this process is shown, of the GPU for rank `local_rank` of its host: CUDA's count of
/// them follows CUDA_VISIBLE_DEVICES, numbers or UUIDs alike. UserError where there is none for it.
int64_t gpu_of_rank(int64_t local_rank, int64_t visible);

}  // namespace parallel
