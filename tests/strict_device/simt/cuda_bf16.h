// Stands in for CUDA's header of that name (cuda_runtime.h beside it).
#pragma once
#include <bit>
#include <cstdint>

namespace simt {

/// The upper half of a float32.
struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

/// The nearest, the even one of two.
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const auto word = std::bit_cast<uint32_t>(x);
  if (x != x) return {uint16_t{0x7FFF}};
  return {static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16)};
}

}  // namespace simt

using namespace simt;
