// defines: Shard, split_range: all that data knows of ranks
#pragma once
#include <cstdint>

namespace data {

/// This reader is number `index` of `count`.
struct Shard {
  int64_t index = 0;
  int64_t count = 1;
};

struct IndexRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// The contiguous part of [0, size) that a shard owns; parts differ by at most one, and may be empty.
inline IndexRange split_range(int64_t size, Shard shard) {
  return {size * shard.index / shard.count, size * (shard.index + 1) / shard.count};
}

}  // namespace data
