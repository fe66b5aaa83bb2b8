#include "launch/checkpoint/checksum.h"

#include <cstring>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// The finalizer of splitmix64 (Steele et al. 2014): every input bit reaches every output bit.
[[gnu::always_inline]] inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// A load of a size that is known, and no call, for each element: this is most of what a checkpoint of 2-byte numbers
/// costs to check, so it is optimized whatever the rest is, and for processors that multiply eight numbers at once.
template <class Word>
#if defined(__x86_64__)
[[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#endif
[[gnu::optimize("O3")]] uint64_t
sum_of(const unsigned char* elements, int64_t count, int64_t first) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, elements + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    sum += mix(word ^ mix(static_cast<uint64_t>(first + i) + 0x9e3779b97f4a7c15));
  }
  return sum;
}

}  // namespace

uint64_t partial_checksum(const void* elements, int64_t element_bytes, int64_t count, int64_t first) {
  const auto* from = static_cast<const unsigned char*>(elements);
  if (element_bytes == 2) return sum_of<uint16_t>(from, count, first);
  if (element_bytes == 4) return sum_of<uint32_t>(from, count, first);
  parallel::check_internal(element_bytes == 8, "checksum of elements of ", element_bytes, " bytes");
  return sum_of<uint64_t>(from, count, first);
}

}  // namespace launch
