// Who rests longest goes first, whatever is cut out of what rests.
#include "parallel/memory/resting_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace parallel {
namespace {

TEST(RestingPages, TheOldestGoFirstAndInParts) {
  RestingPages pages;
  pages.add({50, 60});
  pages.add({10, 40});
  pages.add({60, 70});
  EXPECT_EQ(pages.bytes(), 50);
  EXPECT_EQ(pages.remove_oldest(100), (AddressRange{50, 60})) << "neighbours of other ages are not joined";
  EXPECT_EQ(pages.remove_oldest(10), (AddressRange{10, 20}));
  EXPECT_EQ(pages.remove_oldest(100), (AddressRange{20, 40}));
  EXPECT_EQ(pages.remove_oldest(100), (AddressRange{60, 70}));
  EXPECT_EQ(pages.bytes(), 0);
  EXPECT_THROW(pages.remove_oldest(100), InternalError);
}

TEST(RestingPages, WhatIsCutOutLeavesTheRestItsAge) {
  RestingPages pages;
  pages.add({0, 100});
  pages.add({200, 300});
  EXPECT_EQ(pages.remove({50, 60}), 10);
  EXPECT_EQ(pages.remove({90, 210}), 20) << "10 of each";
  EXPECT_EQ(pages.remove({90, 210}), 0);
  EXPECT_EQ(pages.bytes(), 170);
  EXPECT_EQ(pages.remove_oldest(1000), (AddressRange{0, 50}));
  EXPECT_EQ(pages.remove_oldest(1000), (AddressRange{60, 90}));
  EXPECT_EQ(pages.remove_oldest(1000), (AddressRange{210, 300}));
}

TEST(RestingPages, ARandomWalkIsThatOfAnAgeForEveryAddress) {
  RestingPages pages;
  std::vector<int64_t> since(300, 0);  // 0: does not rest
  const RandomStream draws(5, "resting pages");
  for (int64_t step = 1; step < 4000; ++step) {
    const auto begin = static_cast<uintptr_t>(draws.below(3 * step, 280));
    const AddressRange range{begin, begin + 1 + static_cast<uintptr_t>(draws.below(3 * step + 1, 20))};
    const auto first = since.begin() + static_cast<int64_t>(range.begin), last = first + range.size();
    const int64_t kind = draws.below(3 * step + 2, 4);
    if (kind < 2) {  // what is given back does not rest yet
      EXPECT_EQ(pages.remove(range), range.size() - std::count(first, last, 0));
      pages.add(range);
      std::fill(first, last, step);
    } else if (kind == 2) {
      EXPECT_EQ(pages.remove(range), range.size() - std::count(first, last, 0));
      std::fill(first, last, 0);
    } else if (pages.bytes() > 0) {
      int64_t oldest = step;
      for (const int64_t each : since) oldest = each > 0 ? std::min(oldest, each) : oldest;
      const AddressRange removed = pages.remove_oldest(7);
      ASSERT_LE(removed.size(), 7);
      ASSERT_GT(removed.size(), 0);
      for (uintptr_t at = removed.begin; at < removed.end; ++at) {
        ASSERT_EQ(since[at], oldest) << "step " << step;
        since[at] = 0;
      }
    }
    ASSERT_EQ(pages.bytes(), static_cast<int64_t>(since.size()) - std::ranges::count(since, 0)) << "step " << step;
  }
}

}  // namespace
}  // namespace parallel
