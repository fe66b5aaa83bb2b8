#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
namespace {

__global__ void probe_kernel() {}

bool usable() {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess) return true;
  cudaGetLastError();  // which would be said at the next launch
  return false;
}

}  // namespace

const DeviceKernels* compiled_kernels() {
  static const DeviceKernels all{usable,
                                 on_device::swiglu,
                                 on_device::swiglu_backward,
                                 on_device::clamped_swiglu,
                                 on_device::clamped_swiglu_backward,
                                 on_device::gelu,
                                 on_device::gelu_backward,
                                 on_device::copy_rows,
                                 on_device::add_weighted_rows,
                                 on_device::weighted_rows_backward,
                                 on_device::sort_choices,
                                 on_device::sorting_scratch,
                                 on_device::zero_idle_groups,
                                 on_device::largest_k,
                                 on_device::keep_mask,
                                 on_device::uniform};
  return &all;
}

}  // namespace parallel
