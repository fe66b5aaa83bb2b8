#include "parallel/memory/resting_pages.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace parallel {

void RestingPages::add(AddressRange range) { insert(range, ++added_); }

int64_t RestingPages::remove(AddressRange range) {
  const int64_t before = bytes_;
  auto next = ranges_.upper_bound(range.begin);
  if (next != ranges_.begin() && std::prev(next)->second.end > range.begin) --next;
  while (next != ranges_.end() && next->first < range.end) {
    const AddressRange found{next->first, next->second.end};
    const uint64_t since = next->second.since;
    next = erase(next);
    if (found.begin < range.begin) insert({found.begin, range.begin}, since);
    if (found.end > range.end) insert({range.end, found.end}, since);
  }
  return before - bytes_;
}

AddressRange RestingPages::remove_oldest(int64_t most) {
  check_internal(!by_age_.empty(), "RestingPages: none rests");
  const auto oldest = ranges_.find(by_age_.begin()->second);
  const AddressRange found{oldest->first, oldest->second.end};
  const AddressRange removed{found.begin, found.begin + static_cast<uintptr_t>(std::min(most, found.size()))};
  remove(removed);
  return removed;
}

void RestingPages::insert(AddressRange range, uint64_t since) {
  ranges_.emplace(range.begin, Range{range.end, since});
  by_age_.emplace(since, range.begin);
  bytes_ += range.size();
}

RestingPages::Ranges::iterator RestingPages::erase(Ranges::iterator range) {
  bytes_ -= static_cast<int64_t>(range->second.end - range->first);
  by_age_.erase({range->second.since, range->first});
  return ranges_.erase(range);
}

}  // namespace parallel
