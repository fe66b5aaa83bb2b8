// defines: partial_checksum, word_count: a checksum whose parts add up in any order
#pragma once
#include <cstddef>
#include <cstdint>

namespace launch {

/// 8-byte words of `bytes` bytes, the last one padded with zeros.
inline int64_t word_count(int64_t bytes) { return (bytes + 7) / 8; }

/// The sum mod 2^64 over words [begin, end) of mix(word index, word); the sums of disjoint ranges that cover a dataset
/// add up to its checksum, however it is cut. `data`: the whole dataset, `bytes` long.
uint64_t partial_checksum(const void* data, int64_t bytes, int64_t begin, int64_t end);

}  // namespace launch
