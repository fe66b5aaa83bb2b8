// defines: checksum
#pragma once
#include <cstddef>
#include <string>

namespace data {

/// xxHash64 (seed 0) of `size` bytes, as 16 hexadecimal digits.
std::string checksum(const void* bytes, size_t size);

}  // namespace data
