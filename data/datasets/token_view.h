// defines: TokenView
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace data {

/// Tokens as they lie in a mapped file: `width` bytes each (2 or 4), little-endian, of any alignment.
class TokenView {
 public:
  TokenView() = default;
  TokenView(const std::byte* first, int64_t tokens, int bytes_each) : begin(first), count(tokens), width(bytes_each) {}

  const std::byte* begin = nullptr;
  int64_t count = 0;
  int width = 2;

  int64_t at(int64_t index) const { return width == 2 ? load<uint16_t>(index) : load<uint32_t>(index); }

  /// Tokens [first, first + n) as any integer type.
  template <class T>
  void copy(int64_t first, int64_t n, T* out) const {
    if (width == 2) {
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(load<uint16_t>(first + i));
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(load<uint32_t>(first + i));
    }
  }

  /// The largest token; 0 where there is none.
  int64_t largest() const { return width == 2 ? largest_of<uint16_t>() : largest_of<uint32_t>(); }

  size_t bytes() const { return static_cast<size_t>(count) * static_cast<size_t>(width); }

 private:
  template <class Stored>
  Stored load(int64_t index) const {
    Stored token;
    std::memcpy(&token, begin + index * static_cast<int64_t>(sizeof token), sizeof token);
    return token;
  }

  template <class Stored>
  Stored largest_of() const {
    Stored most = 0;
    for (int64_t i = 0; i < count; ++i) most = std::max(most, load<Stored>(i));
    return most;
  }
};

}  // namespace data
