// The kernels of parallel/device_kernels, compiled for the host (simt/), as the strict device's own: over the other
// addresses of its memory, a step of the stream that they are put into.
#include <cstdlib>
#include <string_view>

#include "parallel/device/cuda_device.h"
#include "parallel/device_kernels/device_kernels.h"
#include "tests/strict_device/memory.h"
#include "tests/strict_device/streams.h"

namespace strict {
namespace {

using parallel::DeviceKernels;
using parallel::DeviceStream;

template <auto kField, class Call>
const char* run(const Call& told, DeviceStream) {
  finish(current_stream());
  Call own = told;
  own.addresses([]<class Number>(Number*& address) {
    if (address == nullptr) return;
    if (current_stream() == kDefaultStream) note_use(address, tick());
    address = static_cast<Number*>(alias_of(address));
  });
  return (parallel::compiled_kernels()->*kField)(own, {});
}

DeviceKernels over_alias() {
  DeviceKernels all = *parallel::compiled_kernels();
  all.swiglu = run<&DeviceKernels::swiglu>;
  all.swiglu_backward = run<&DeviceKernels::swiglu_backward>;
  all.clamped_swiglu = run<&DeviceKernels::clamped_swiglu>;
  all.clamped_swiglu_backward = run<&DeviceKernels::clamped_swiglu_backward>;
  all.gelu = run<&DeviceKernels::gelu>;
  all.gelu_backward = run<&DeviceKernels::gelu_backward>;
  all.copy_rows = run<&DeviceKernels::copy_rows>;
  all.add_weighted_rows = run<&DeviceKernels::add_weighted_rows>;
  all.weighted_rows_backward = run<&DeviceKernels::weighted_rows_backward>;
  all.sort_choices = run<&DeviceKernels::sort_choices>;
  all.largest_k = run<&DeviceKernels::largest_k>;
  all.keep_mask = run<&DeviceKernels::keep_mask>;
  all.uniform = run<&DeviceKernels::uniform>;
  return all;
}

}  // namespace
}  // namespace strict

namespace parallel {

const DeviceKernels* cuda_kernels() {
  // As where nvcc was not there: LibTorch's operations alone.
  static const char* const told = std::getenv("STRICT_DEVICE_KERNELS");
  static const DeviceKernels all = strict::over_alias();
  return told != nullptr && std::string_view(told) == "none" ? nullptr : &all;
}

}  // namespace parallel
