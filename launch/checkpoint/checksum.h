// defines: partial_checksum: a checksum whose parts add up in any order
#pragma once
#include <cstdint>

namespace launch {

/// The sum mod 2^64 of mix(index, element) over `count` elements of 2, 4 or 8 bytes, `first` being the index of the
/// first of them in the whole dataset: the sums of parts that cover a dataset once add up to its checksum, however it
/// is cut.
uint64_t partial_checksum(const void* elements, int64_t element_bytes, int64_t count, int64_t first);

}  // namespace launch
