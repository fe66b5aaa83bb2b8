// CUDA's half is a library of its own, which is loaded where it is asked for: LibTorch's alone costs every start 0.3 s.
// Another library of that name, found before it, brings another device (tests/strict_device).
// defines: open_accelerator, DeviceFacts, device_facts, DeviceLibrary, device_library, kDeviceLibrary,
// kFillDeviceLibrary
#pragma once
#include <c10/core/Device.h>

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

/// What the library has; null where it could not be loaded.
struct DeviceLibrary {
  c10::Device (*open_device)(int64_t local_rank) = nullptr;
  DeviceFacts (*facts)() = nullptr;
  std::shared_ptr<Communicator> (*communicator)(Communicator& bootstrap, c10::Device device) = nullptr;
  const DeviceKernels* kernels = nullptr;  // null where nvcc was not there when it was built
  std::string fault;                       // why it could not be loaded
};

/// Loaded at the first call, and for good: LibTorch's tables hold on to what registered itself there.
const DeviceLibrary& device_library();

/// The file, looked for where the program's own libraries are, and the function in it that fills in a DeviceLibrary.
constexpr const char* kDeviceLibrary = "libmoetrain_cuda.so";
constexpr const char* kFillDeviceLibrary = "moetrain_fill_device_library";

}  // namespace parallel
