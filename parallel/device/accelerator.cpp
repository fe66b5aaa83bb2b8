#include "parallel/device/accelerator.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace parallel {

c10::Stream current_stream(c10::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

c10::Stream side_stream(c10::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device, /*isHighPriority=*/true);
}

void wait_for_device(c10::Device device) {
  if (is_accelerator(device)) current_stream(device).synchronize();
}

at::Tensor send(const at::Tensor& host, c10::Device device) {
  if (!host.defined() || !is_accelerator(device)) return host;
  // LibTorch keeps pinned memory that was given back until the copies from it are done.
  const at::Tensor pinned = at::empty(host.sizes(), host.options().pinned_memory(true));
  return pinned.copy_(host).to(device, /*non_blocking=*/true);
}

}  // namespace parallel
