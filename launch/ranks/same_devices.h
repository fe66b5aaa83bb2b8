// defines: check_devices
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/device/device_library.h"

namespace launch {

/// UserError naming ranks and GPUs where these are of several kinds (the slowest would hold up all, and round another
/// way), where two ranks of a host were shown one GPU, or where ranks have other versions of NCCL. hosts: of each rank
/// its host, as any number.
void check_devices(const std::vector<parallel::OpenedDevice>& by_rank, const std::vector<int64_t>& hosts);

}  // namespace launch
