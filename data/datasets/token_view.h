// defines: TokenView
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace data {

/// Tokens as they lie in a mapped file: `width` bytes each (2 or 4), little-endian, of any alignment.
struct TokenView {
  const std::byte* begin = nullptr;
  int64_t count = 0;
  int width = 2;

  int64_t at(int64_t index) const {
    uint32_t token = 0;
    std::memcpy(&token, begin + index * width, static_cast<size_t>(width));
    return token;
  }

  /// Tokens [first, first + n) as any integer type.
  template <class T>
  void copy(int64_t first, int64_t n, T* out) const {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(at(first + i));
  }

  size_t bytes() const { return static_cast<size_t>(count) * static_cast<size_t>(width); }
};

}  // namespace data
