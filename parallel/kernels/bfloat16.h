// Numbers of 16 bits, as loops find them in memory; they compute in float32.
// defines: Bfloat16, Wide
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

namespace parallel {

/// The upper half of a float32 (Kalamkar et al. 2019), bit for bit what LibTorch's at::BFloat16 is. Made by whole
/// numbers, to the nearest, of two as near to the even one: an instruction of some processors gives other bits to
/// denormals.
struct Bfloat16 {
  Bfloat16() = default;
  [[gnu::always_inline]] explicit Bfloat16(float x) { *this = x; }
  // Loops assign numbers, not Bfloat16(number): of such an object the vectoriser makes an array, and gives up.
  [[gnu::always_inline]] Bfloat16& operator=(float x) {
    const uint32_t all = std::bit_cast<uint32_t>(x), rounded = (all + 0x7fffU + ((all >> 16) & 1U)) >> 16;
    bits = static_cast<uint16_t>(x == x ? rounded : 0x7fc0U);
    return *this;
  }
  // Implicit: a number that is read is a float32.
  [[gnu::always_inline]] operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }

  uint16_t bits;
};

/// What loops over numbers of a type compute in.
template <class Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, Bfloat16>, float, Scalar>;

}  // namespace parallel
