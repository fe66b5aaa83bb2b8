// The device's own kernels (device_kernels/), for tensors.
// defines: kernels_of, element_of, kernel_stream, call
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include "parallel/base/fault.h"
#include "parallel/device_kernels/device_kernels.h"

namespace parallel {

/// Null on the processor, and where there are none: then LibTorch's operations do the same.
const DeviceKernels* kernels_of(c10::Device device);

/// The same, and null for numbers of a type that they do not take.
const DeviceKernels* kernels_of(const at::Tensor& numbers);

/// @pre of a type that kernels take
Element element_of(const at::Tensor& numbers);

/// What the device's own library calls the calling thread's current stream.
DeviceStream kernel_stream(c10::Device device);

/// Behind what the calling thread's current stream there holds. Tensors must outlive the call alone: their memory is
/// not given to another stream.
template <class Call>
void call(DeviceKernels::Kernel<Call> kernel, const Call& told, c10::Device device) {
  const c10::DeviceGuard guard(device);
  const char* fault = kernel(told, kernel_stream(device));
  check_internal(fault == nullptr,
                 "CUDA said when a kernel was started, of it or of an earlier one: ", fault == nullptr ? "" : fault);
}

}  // namespace parallel
