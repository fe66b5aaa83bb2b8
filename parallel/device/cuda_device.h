// What libmoetrain_cuda.so knows of GPUs (device_library.h). tests/strict_device defines the same of its own device.
// defines: open_cuda_device, cuda_facts, opened_cuda_device, cuda_multiprocessors, cuda_has_grouped_product,
// cuda_grouped_product_out, cuda_kernels
#pragma once
#include "parallel/device/device_library.h"
#include "parallel/device_kernels/device_kernels.h"

namespace parallel {

c10::Device open_cuda_device(int64_t local_rank);

/// But for the version of NCCL.
DeviceFacts cuda_facts();

/// But for the version of NCCL.
OpenedDevice opened_cuda_device();

int64_t cuda_multiprocessors();
bool cuda_has_grouped_product();
void cuda_grouped_product_out(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                              const at::Tensor& end_G);

/// Null where there are none.
const DeviceKernels* cuda_kernels();

}  // namespace parallel
