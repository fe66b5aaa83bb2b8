#include "parallel/device/cuda_device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string>

#include "parallel/base/fault.h"

namespace parallel {

namespace {

/// How many GPUs this process sees. LibTorch's own count is 0 whatever is wrong, and says why in a warning.
int64_t visible_gpus() {
  int count = 0, driver = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  if (status == cudaErrorNoDevice) return 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess) {
    const std::string found = driver == 0 ? "this host has no driver of NVIDIA's"
                                          : concat("the driver of this host is for CUDA ", driver / 1000, ".",
                                                   driver % 1000 / 10, " at most");
    user_error("run.device = \"cuda\": ", found, ", and this program was built for CUDA ", CUDART_VERSION / 1000, ".",
               CUDART_VERSION % 1000 / 10, "; legal: a driver of that version or later, or run.device = \"cpu\"");
  }
  user_error("run.device = \"cuda\": CUDA cannot be used on this host: ", cudaGetErrorString(status),
             "; legal: run.device = \"cpu\"");
}

/// Of what the launcher said of GPUs, if it did.
std::string shown_by_launcher() {
  const char* shown = std::getenv("CUDA_VISIBLE_DEVICES");
  return shown == nullptr ? "" : concat(" (CUDA_VISIBLE_DEVICES=\"", shown, "\")");
}

}  // namespace

at::Device open_cuda_device(int64_t local_rank) {
  const int64_t count = visible_gpus();
  // A launcher may show each rank one GPU, its own (srun --gpus-per-task=1).
  if (count == 1 && std::getenv("CUDA_VISIBLE_DEVICES") != nullptr) local_rank = 0;
  if (local_rank >= count) {
    user_error("run.device = \"cuda\": rank ", local_rank, " of this host needs a GPU of its own, and ", count,
               " are visible", shown_by_launcher(), "; legal: at most one rank for each GPU, or run.device = \"cpu\"");
  }
  check_internal(at::detail::getCUDAHooks().hasCUDA(), "LibTorch was asked for CUDA before its CUDA half was loaded");
  // The first calls that need the GPU itself; where others keep it to themselves one of them says so.
  cudaError_t status = cudaSetDevice(static_cast<int>(local_rank));
  if (status == cudaSuccess) status = cudaFree(nullptr);
  if (status != cudaSuccess) {
    user_error("run.device = \"cuda\": GPU ", local_rank, " of this host cannot be used: ", cudaGetErrorString(status),
               "; legal: a GPU that no other process keeps to itself (nvidia-smi shows its compute mode)");
  }
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(local_rank));
  return {at::kCUDA, static_cast<c10::DeviceIndex>(local_rank)};
}

DeviceFacts cuda_facts() {
  DeviceFacts found;
  found.built_with = concat(CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10);
  for (int gpu = 0; gpu < c10::cuda::device_count(); ++gpu) {
    cudaDeviceProp properties{};
    const bool known = cudaGetDeviceProperties(&properties, gpu) == cudaSuccess;
    found.gpus.emplace_back(known ? properties.name : "unknown");
  }
  return found;
}

const DeviceKernels* cuda_kernels() {
  constexpr int kOldest = 8;  // of compute capability, as device_kernels/nvcc.cmake compiles them
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return nullptr;
  for (int gpu = 0; gpu < count; ++gpu) {
    int major = 0;
    const cudaError_t status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu);
    if (status != cudaSuccess || major < kOldest) return nullptr;
  }
  return compiled_kernels();
}

}  // namespace parallel
