#include "parallel/device/cuda_device.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/cuda/GroupMM.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <string>

#include "parallel/base/fault.h"
#include "parallel/device/visible_gpus.h"

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

}  // namespace

at::Device open_cuda_device(int64_t local_rank) {
  local_rank = gpu_of_rank(local_rank, visible_gpus());
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

OpenedDevice opened_cuda_device() {
  const cudaDeviceProp& properties = *at::cuda::getCurrentDeviceProperties();
  std::string id = "GPU";  // as nvidia-smi prints it
  for (size_t i = 0; i < sizeof(properties.uuid.bytes); ++i) {
    constexpr const char* kDigits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(properties.uuid.bytes[i]);
    if (i == 0 || (i >= 4 && i <= 10 && i % 2 == 0)) id += '-';
    id += {kDigits[byte / 16], kDigits[byte % 16]};
  }
  return {.name = properties.name, .id = id, .nccl = {}};
}

int64_t cuda_multiprocessors() { return at::cuda::getCurrentDeviceProperties()->multiProcessorCount; }

bool cuda_has_grouped_product() {
  const int major = at::cuda::getCurrentDeviceProperties()->major;
  return major == 9 || major == 10;  // what LibTorch's is compiled for
}

void cuda_grouped_product_out(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                              const at::Tensor& end_G) {
  at::Tensor place = out;
  at::cuda::detail::bf16bf16_grouped_mm(left, right, end_G, {}, place);
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

const DeviceKernels* cuda_kernels() { return compiled_kernels(); }

}  // namespace parallel
