#include "launch/checkpoint/checksum.h"

#include <algorithm>
#include <cstring>

namespace launch {
namespace {

/// The finalizer of splitmix64 (Steele et al. 2014): every input bit reaches every output bit.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t partial_checksum(const void* data, int64_t bytes, int64_t begin, int64_t end) {
  const auto* from = static_cast<const unsigned char*>(data);
  uint64_t sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, from + 8 * i, static_cast<size_t>(std::min<int64_t>(8, bytes - 8 * i)));
    sum += mix(word ^ mix(static_cast<uint64_t>(i) + 0x9e3779b97f4a7c15));
  }
  return sum;
}

}  // namespace launch
