#include "parallel/device/kernel_call.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "parallel/device/accelerator.h"
#include "parallel/device/device_library.h"

namespace parallel {

const DeviceKernels* kernels_of(c10::Device device) {
  if (!is_accelerator(device)) return nullptr;
  const DeviceKernels* all = device_library().kernels;
  static const bool usable = all != nullptr && all->usable();  // the device is open: this process has one
  return usable ? all : nullptr;
}

const DeviceKernels* kernels_of(const at::Tensor& numbers) {
  const at::ScalarType type = numbers.scalar_type();
  const bool taken = type == at::kFloat || type == at::kDouble || type == at::kBFloat16;
  return taken ? kernels_of(numbers.device()) : nullptr;
}

Element element_of(const at::Tensor& numbers) {
  if (numbers.scalar_type() == at::kFloat) return Element::kFloat;
  if (numbers.scalar_type() == at::kDouble) return Element::kDouble;
  check_internal(numbers.scalar_type() == at::kBFloat16, "kernels take no ", numbers.scalar_type());
  return Element::kBfloat16;
}

DeviceStream kernel_stream(c10::Device device) {
  return {c10::impl::VirtualGuardImpl(device.type()).getStreamNativeHandle(current_stream(device))};
}

}  // namespace parallel
