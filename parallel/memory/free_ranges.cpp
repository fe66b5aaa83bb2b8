#include "parallel/memory/free_ranges.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace parallel {

std::optional<AddressRange> FreeRanges::take(int64_t size) {
  const auto found = std::find_if(ranges_.rbegin(), ranges_.rend(),
                                  [size](const AddressRange& range) { return range.size() >= size; });
  if (found == ranges_.rend()) return {};
  const AddressRange taken{found->end - static_cast<uintptr_t>(size), found->end};
  found->end = taken.begin;
  if (found->size() == 0) ranges_.erase(std::next(found).base());
  return taken;
}

void FreeRanges::put(AddressRange range) {
  const auto after = std::ranges::lower_bound(ranges_, range.begin, {}, &AddressRange::begin);
  const bool has_after = after != ranges_.end(), has_before = after != ranges_.begin();
  check_internal(!has_after || range.end <= after->begin, "FreeRanges: what ends at ", range.end, " is free already");
  check_internal(!has_before || std::prev(after)->end <= range.begin, "FreeRanges: ", range.begin, " is free already");
  const bool joins_after = has_after && after->begin == range.end;
  const bool joins_before = has_before && std::prev(after)->end == range.begin;
  if (joins_after && joins_before) {
    std::prev(after)->end = after->end;
    ranges_.erase(after);
  } else if (joins_after) {
    after->begin = range.begin;
  } else if (joins_before) {
    std::prev(after)->end = range.end;
  } else {
    ranges_.insert(after, range);
  }
}

}  // namespace parallel
