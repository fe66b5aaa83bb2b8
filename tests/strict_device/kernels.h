// The strict device's kernels are LibTorch's for the CPU, over the other addresses of its memory.
// defines: on_device, kernel_view, brought, device_empty, run_on_cpu
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <vector>

namespace strict {

inline bool on_device(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == c10::DeviceType::PrivateUse1;
}

/// The same elements for the device's own kernels. A step of the default stream uses them.
at::Tensor kernel_view(const at::Tensor& tensor);

/// Memory of the device.
at::Tensor device_empty(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type);

/// A kernel's own result, which lies on the host.
at::Tensor brought(const at::Tensor& result);

/// An operation by its kernel for the CPU: every tensor must be the device's, but for numbers of no dimension. What on
/// CUDA makes the host wait is counted.
void run_on_cpu(const c10::OperatorHandle& op, std::vector<c10::IValue>* stack);

}  // namespace strict
