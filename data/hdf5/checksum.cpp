#include "data/hdf5/checksum.h"

#include <xxhash.h>

namespace data {

std::string checksum(const void* bytes, size_t size) {
  uint64_t hash = XXH64(bytes, size, 0);
  std::string digits(16, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, hash >>= 4)
    *digit = "0123456789abcdef"[hash & 15];
  return digits;
}

}  // namespace data
