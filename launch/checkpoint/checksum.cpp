#include "launch/checkpoint/checksum.h"

#include <cstring>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// The finalizer of splitmix64 (Steele et al. 2014): every input bit reaches every output bit.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t partial_checksum(const void* elements, int64_t element_bytes, int64_t count, int64_t first) {
  parallel::check_internal(element_bytes == 2 || element_bytes == 4 || element_bytes == 8, "checksum of elements of ",
                           element_bytes, " bytes");
  const auto* from = static_cast<const unsigned char*>(elements);
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; ++i, from += element_bytes) {
    uint64_t word = 0;
    std::memcpy(&word, from, static_cast<size_t>(element_bytes));
    sum += mix(word ^ mix(static_cast<uint64_t>(first + i) + 0x9e3779b97f4a7c15));
  }
  return sum;
}

}  // namespace launch
