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

namespace {

/// LibTorch keeps what was given back of it until the copies from it are done.
at::Tensor pinned(const at::Tensor& like, at::ScalarType type) {
  return at::empty(like.sizes(), at::TensorOptions(type).pinned_memory(true));
}

}  // namespace

at::Tensor send(const at::Tensor& host, c10::Device device) {
  if (!host.defined() || host.device() == device || !is_accelerator(device)) return host;
  return pinned(host, host.scalar_type()).copy_(host).to(device, /*non_blocking=*/true);
}

void send_into(const at::Tensor& to, const at::Tensor& host) {
  if (to.device() == host.device()) {
    to.copy_(host);
    return;
  }
  to.copy_(pinned(host, to.scalar_type()).copy_(host), /*non_blocking=*/true);
}

std::vector<at::Tensor> fetch(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& tensor : tensors) {
    const bool there = is_accelerator(tensor.device());
    all.push_back(there ? pinned(tensor, tensor.scalar_type()).copy_(tensor, /*non_blocking=*/true) : tensor);
  }
  c10::Device waited(c10::kCPU);
  for (const at::Tensor& tensor : tensors) {
    if (tensor.device() == waited || !is_accelerator(tensor.device())) continue;
    waited = tensor.device();
    wait_for_device(waited);
  }
  return all;
}

}  // namespace parallel
