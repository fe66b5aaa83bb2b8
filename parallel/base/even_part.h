// defines: EvenPart, even_part: contiguous parts that differ by at most one
#pragma once
#include <cstdint>

namespace parallel {

/// Indices begin .. begin + count.
struct EvenPart {
  int64_t begin = 0, count = 0;
};

/// Part `index` of `parts` of [0, size); any of them may be empty.
constexpr EvenPart even_part(int64_t size, int64_t index, int64_t parts) {
  const int64_t begin = size * index / parts;
  return {begin, size * (index + 1) / parts - begin};
}

}  // namespace parallel
