// Pages that nobody has and the system has not back.
// defines: RestingPages
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "parallel/memory/free_ranges.h"

namespace parallel {

/// Ranges of them, by how long they have rested.
class RestingPages {
 public:
  int64_t bytes() const { return bytes_; }
  /// They rest from now on, after all others.
  void add(AddressRange range);
  /// None of the range rests any more; how many bytes of it did.
  int64_t remove(AddressRange range);
  /// Of the range that has rested longest the first bytes, `most` at most, which rest no more. There must be one.
  AddressRange remove_oldest(int64_t most);
  void clear() { *this = {}; }

 private:
  struct Range {
    uintptr_t end;
    uint64_t since;
  };
  using Ranges = std::map<uintptr_t, Range>;  // by begin
  void insert(AddressRange range, uint64_t since);
  Ranges::iterator erase(Ranges::iterator range);

  Ranges ranges_;
  std::set<std::pair<uint64_t, uintptr_t>> by_age_;  // (since, begin)
  uint64_t added_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace parallel
