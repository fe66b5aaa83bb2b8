// defines: Merged, MergeTable
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace data {

/// What a pair of tokens becomes, and when: the smallest rank first.
struct Merged {
  uint32_t rank = 0;
  int32_t token = 0;
};

/// Pairs of tokens -> what they become. Half empty and probed in order: one look at memory for most questions, of which
/// a text asks as many as it has characters.
class MergeTable {
 public:
  explicit MergeTable(size_t most_pairs)
      : keys_(std::bit_ceil(2 * most_pairs + 1), kEmpty), values_(keys_.size()), mask_(keys_.size() - 1) {}

  /// Of equal pairs the last one counts.
  void set(int32_t left, int32_t right, Merged merged) {
    const size_t at = slot_of(key_of(left, right));
    keys_[at] = key_of(left, right);
    values_[at] = merged;
  }

  const Merged* find(int32_t left, int32_t right) const {
    const size_t at = slot_of(key_of(left, right));
    return keys_[at] == kEmpty ? nullptr : &values_[at];
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair: tokens are not negative

  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  size_t slot_of(uint64_t key) const {
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    size_t at = hash & mask_;
    while (keys_[at] != kEmpty && keys_[at] != key) at = (at + 1) & mask_;
    return at;
  }

  std::vector<uint64_t> keys_;
  std::vector<Merged> values_;
  size_t mask_;
};

}  // namespace data
