// CUDA's half is a library of its own, which is loaded where it is asked for: LibTorch's alone costs every start 0.3 s.
// Another library of that name, found before it, brings another device (tests/strict_device).
// defines: open_accelerator, DeviceFacts, device_facts, OpenedDevice, opened_device, multiprocessors,
// has_grouped_product, grouped_product_out, DeviceLibrary, device_library, kDeviceLibrary, kFillDeviceLibrary
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace parallel {

class Communicator;
struct DeviceKernels;

/// The GPU of this rank: number `local_rank` of those its host shows. UserError where there is none, or fewer GPUs
/// than ranks, or where this build has no CUDA. Before anything asks LibTorch for CUDA: it remembers the answer.
c10::Device open_accelerator(int64_t local_rank);

/// What this process sees of CUDA. Versions are empty in a build without it.
struct DeviceFacts {
  std::string built_with, nccl;
  std::vector<std::string> gpus;  // their names
};
DeviceFacts device_facts();

/// The device that was opened.
struct OpenedDevice {
  std::string name, id;  // of its kind; of itself, unlike any other of its host, or empty
  std::string nccl;
};
OpenedDevice opened_device();
int64_t multiprocessors();

/// Whether this kind of device, which was opened, has a kernel for products of groups of bf16, whose ends the host need
/// not know. Not GPUs before Hopper: LibTorch would have the host wait for the ends, at each product.
bool has_grouped_product();

/// end_G: int32 on the device, behind the last row of each group. left [R, M] x right [G, M, N] -> out [R, N]: a
/// group's rows by its matrix; left [M, R] x right [R, N] -> out [G, M, N]: sums over a group's rows. Written straight
/// to `out`, but for rows of no group, and for sums over none: these hold anything. bf16; of each tensor one of the
/// last two strides is 1, the other a multiple of 16 bytes, where it begins too; out's last stride is 1; fewer than
/// 1,024 groups.
void grouped_product_out(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                         const at::Tensor& end_G);

/// What the library has; null where it could not be loaded.
struct DeviceLibrary {
  c10::Device (*open_device)(int64_t local_rank) = nullptr;
  DeviceFacts (*facts)() = nullptr;
  OpenedDevice (*opened)() = nullptr;
  std::shared_ptr<Communicator> (*communicator)(Communicator& bootstrap, c10::Device device) = nullptr;
  int64_t (*multiprocessors)() = nullptr;
  bool (*has_grouped_product)() = nullptr;
  void (*grouped_product_out)(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                              const at::Tensor& end_G) = nullptr;
  const DeviceKernels* kernels = nullptr;  // null where nvcc was not there when it was built
  std::string fault;                       // why it could not be loaded
};

/// Loaded at the first call, and for good: LibTorch's tables hold on to what registered itself there.
const DeviceLibrary& device_library();

/// The file, looked for where the program's own libraries are, and the function in it that fills in a DeviceLibrary.
constexpr const char* kDeviceLibrary = "libmoetrain_cuda.so";
constexpr const char* kFillDeviceLibrary = "moetrain_fill_device_library";

}  // namespace parallel
