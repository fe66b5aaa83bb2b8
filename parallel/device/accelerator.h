// What is asked of a device that works behind the host: one kind of code for all of them, CUDA's or another.
// defines: is_accelerator, current_stream, side_stream, wait_for_device, send, send_into, fetch
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <vector>

namespace parallel {

/// Whether it has memory of its own and works behind the host. No other question tells devices apart.
inline bool is_accelerator(c10::Device device) { return !device.is_cpu() && !device.is_meta(); }

/// The calling thread's current stream on that device.
c10::Stream current_stream(c10::Device device);

/// One beside it, whose kernels go before those of the others where both could run.
c10::Stream side_stream(c10::Device device);

/// The host waits until the calling thread's current stream there is done. Nothing on the CPU.
void wait_for_device(c10::Device device);

/// `host` on `device`, behind what the current stream holds, by way of pinned memory: the host does not wait. `host`
/// itself where that is the CPU, or where it is undefined.
at::Tensor send(const at::Tensor& host, c10::Device device);

/// The same into the elements of `to`, in their type. A copy where both lie on one device.
void send_into(const at::Tensor& to, const at::Tensor& host);

/// All of them on the host, by way of pinned memory: the host waits once. Themselves where that is where they are.
std::vector<at::Tensor> fetch(const std::vector<at::Tensor>& tensors);

}  // namespace parallel
