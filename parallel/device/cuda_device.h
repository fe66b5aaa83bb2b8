// What libmoetrain_cuda.so knows of GPUs (device_library.h). tests/strict_device defines the same of its own device.
// defines: open_cuda_device, cuda_facts, cuda_kernels
#pragma once
#include "parallel/device/device_library.h"
#include "parallel/device_kernels/device_kernels.h"

namespace parallel {

c10::Device open_cuda_device(int64_t local_rank);

/// But for the version of NCCL.
DeviceFacts cuda_facts();

/// Null where there are none, or a GPU here is older than what they were compiled for.
const DeviceKernels* cuda_kernels();

}  // namespace parallel
