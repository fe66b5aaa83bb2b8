// What kernels share: numbers as they are computed with, memory in pieces, a launch. Only words of CUDA C++ that
// tests/strict_device/simt knows too.
// defines: Computed, widened, narrowed, Piece, loaded, store, whole_pieces, with_element, launch, sum_of_warp, kWarp
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "parallel/device_kernels/device_kernels.h"

namespace parallel {
namespace on_device {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kPieceBytes = 16;

/// The type that numbers of another are computed in.
template <class Number>
struct ComputedIn {
  using Type = float;
};
template <>
struct ComputedIn<double> {
  using Type = double;
};
template <class Number>
using Computed = typename ComputedIn<Number>::Type;

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }
__device__ __forceinline__ float widened(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class Number>
__device__ __forceinline__ Number narrowed(Computed<Number> x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrowed<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// Neighbours that are read or written at once.
template <class Number, int kNumbers>
struct alignas(sizeof(Number) * kNumbers) Piece {
  Number at[kNumbers];
};
template <int kNumbers, class Number>
__device__ __forceinline__ Piece<Number, kNumbers> loaded(const Number* from) {
  return *reinterpret_cast<const Piece<Number, kNumbers>*>(from);
}
template <class Number, int kNumbers>
__device__ __forceinline__ void store(Number* to, const Piece<Number, kNumbers>& piece) {
  *reinterpret_cast<Piece<Number, kNumbers>*>(to) = piece;
}
template <class Number>
constexpr int kNumbersOfPiece = kPieceBytes / static_cast<int>(sizeof(Number));

/// Whether rows of this width begin with whole pieces everywhere. Of one row: width 0.
template <class Number, class... Addresses>
bool whole_pieces(int64_t width, const Addresses*... address) {
  const bool beginnings = ((reinterpret_cast<uintptr_t>(address) % kPieceBytes == 0) && ...);
  return beginnings && width % kNumbersOfPiece<Number> == 0;
}

/// The same in every lane, added in the same order everywhere.
template <class Number>
__device__ __forceinline__ Number sum_of_warp(Number own) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) own += __shfl_xor_sync(kAllLanes, own, distance);
  return own;
}

/// action(a null pointer of the element's type)
template <class Action>
const char* with_element(Element element, const Action& action) {
  if (element == Element::kFloat) return action(static_cast<float*>(nullptr));
  if (element == Element::kDouble) return action(static_cast<double*>(nullptr));
  return action(static_cast<__nv_bfloat16*>(nullptr));
}

constexpr int64_t kMostBlocks = 0x7FFFFFFF;

inline int64_t parts(int64_t count, int64_t part) { return (count + part - 1) / part; }

/// With so many bytes of shared memory. Nothing where there are no blocks.
template <class... Parameters>
const char* launch_sharing(void (*kernel)(Parameters...), int64_t blocks, unsigned threads, size_t bytes,
                           DeviceStream stream, Parameters... arguments) {
  if (blocks == 0) return nullptr;
  if (blocks > kMostBlocks) return "more blocks than a grid holds";
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters&&>(arguments)...);
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

template <class... Parameters>
const char* launch(void (*kernel)(Parameters...), int64_t blocks, unsigned threads, DeviceStream stream,
                   Parameters... arguments) {
  return launch_sharing(kernel, blocks, threads, 0, stream, arguments...);
}

}  // namespace on_device
}  // namespace parallel
