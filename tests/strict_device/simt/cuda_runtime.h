// Stands in for CUDA's header of that name where kernels are compiled by the host's compiler: the words of CUDA C++
// that parallel/device_kernels uses, and the calls of its runtime. One block runs after another; what only a warp or a
// block can do together is refused where not all of it comes (blocks.h).
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__  // of one array alone, shared_words, whose size the launch says

namespace simt {

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned wide = 1, unsigned high = 1, unsigned deep = 1) : x(wide), y(high), z(deep) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

/// One thread after another, or in turns where they wait for each other.
cudaError_t run_blocks(const cudaLaunchConfig_t& config, const std::function<void()>& thread);

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return run_blocks(*config, [&] { kernel(arguments...); });
}

struct cudaFuncAttributes {};
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, void (*)()) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorString(cudaError_t status);

// Ends at a page without access, begins after another; holds not-a-numbers, and cudaFree looks at what lies around it.
cudaError_t cudaMalloc(void** address, size_t bytes);
cudaError_t cudaFree(void* address);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

// Of the host's clock.
using cudaEvent_t = double*;
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);

void block_waits();

/// Of every lane of the warp what it brought, in 64 bits; all 32 must come.
const uint64_t* warp_exchange(unsigned mask, uint64_t own);

inline void __syncthreads() { block_waits(); }
inline void __syncwarp(unsigned mask = ~0u) { warp_exchange(mask, 0); }
unsigned lane_of_thread();

template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t own = 0;
  std::memcpy(&own, &value, sizeof(T));
  std::memcpy(&value, warp_exchange(mask, own) + lane % 32, sizeof(T));
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
  return __shfl_sync(mask, value, static_cast<int>(lane_of_thread()) ^ other);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
  const unsigned lane = lane_of_thread();
  return __shfl_sync(mask, value, static_cast<int>(lane < distance ? lane : lane - distance));
}

inline unsigned __ballot_sync(unsigned mask, int truth) {
  const uint64_t* all = warp_exchange(mask, truth != 0);
  unsigned lanes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) lanes |= static_cast<unsigned>(all[lane]) << lane;
  return lanes;
}
inline unsigned __match_any_sync(unsigned mask, int value) {
  const auto own = static_cast<uint64_t>(static_cast<unsigned>(value));
  const uint64_t* all = warp_exchange(mask, own);
  unsigned lanes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) lanes |= static_cast<unsigned>(all[lane] == own) << lane;
  return lanes;
}
inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t{a} * b) >> 32); }

}  // namespace simt

using namespace simt;
using std::isfinite;

namespace parallel {
/// The shared memory of the block that runs, as kernels declare it.
extern uint64_t shared_words[];
}  // namespace parallel
