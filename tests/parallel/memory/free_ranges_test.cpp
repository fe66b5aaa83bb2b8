// What is free is cut, and joined again.
#include "parallel/memory/free_ranges.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace parallel {
namespace {

using Ranges = std::vector<AddressRange>;

TEST(FreeRanges, TheHighestThatFitsIsCutAtItsEnd) {
  FreeRanges free;
  for (const AddressRange range : {AddressRange{100, 200}, {400, 440}, {300, 340}, {500, 530}}) free.put(range);
  EXPECT_EQ(free.take(35), (AddressRange{405, 440}));
  EXPECT_EQ(free.take(40), (AddressRange{300, 340}));
  EXPECT_EQ(free.take(60), (AddressRange{140, 200}));
  EXPECT_EQ(free.take(41), std::nullopt) << "75 are free, but nowhere 41 in a row";
  EXPECT_EQ(free.all(), (Ranges{{100, 140}, {400, 405}, {500, 530}}));
}

TEST(FreeRanges, WhatIsGivenBackIsOneWithItsNeighbours) {
  for (const std::vector<AddressRange>& order : {std::vector<AddressRange>{{0, 10}, {10, 20}, {20, 30}},
                                                 {{0, 10}, {20, 30}, {10, 20}},
                                                 {{20, 30}, {10, 20}, {0, 10}}}) {
    FreeRanges free;
    for (const AddressRange range : order) free.put(range);
    EXPECT_EQ(free.all(), (Ranges{{0, 30}}));
    EXPECT_EQ(free.take(30), (AddressRange{0, 30}));
    EXPECT_TRUE(free.all().empty());
  }
}

TEST(FreeRanges, WhatIsFreeCannotBeGivenBack) {
  FreeRanges free;
  free.put({100, 200});
  for (const AddressRange range : {AddressRange{100, 200}, {120, 130}, {90, 101}, {199, 210}, {50, 300}}) {
    EXPECT_THROW(free.put(range), InternalError) << range.begin;
  }
  EXPECT_EQ(free.all(), (Ranges{{100, 200}}));
}

TEST(FreeRanges, AllOfThemAtOnce) {
  FreeRanges free;
  free.put({0, 10});
  free.put({20, 30});
  EXPECT_EQ(free.take_all(), (Ranges{{0, 10}, {20, 30}}));
  EXPECT_EQ(free.take(1), std::nullopt);
  free.put({5, 25});
  EXPECT_EQ(free.all(), (Ranges{{5, 25}}));
}

/// A flag for every address.
struct Model {
  std::vector<bool> is_free;

  Ranges runs() const {
    Ranges runs;
    for (uintptr_t at = 0, begin = 0; at < is_free.size(); ++at) {
      if (!is_free[at]) continue;
      if (at == 0 || !is_free[at - 1]) begin = at;
      if (at + 1 == is_free.size() || !is_free[at + 1]) runs.push_back({begin, at + 1});
    }
    return runs;
  }
  std::optional<AddressRange> fitting(int64_t size) const {
    std::optional<AddressRange> found;
    for (const AddressRange run : runs()) {
      if (run.size() >= size) found = AddressRange{run.end - static_cast<uintptr_t>(size), run.end};
    }
    return found;
  }
  void set(AddressRange range, bool value) {
    for (uintptr_t at = range.begin; at < range.end; ++at) {
      EXPECT_NE(is_free[at], value) << "two have " << at;
      is_free[at] = value;
    }
  }
};

TEST(FreeRanges, ARandomWalkIsThatOfAFlagForEveryAddress) {
  FreeRanges free;
  Model model{std::vector<bool>(400, true)};
  free.put({0, 400});
  std::vector<AddressRange> taken;
  const RandomStream draws(3, "free ranges");
  int64_t refused = 0;
  for (int64_t step = 0; step < 5000; ++step) {
    if (draws.uniform(3 * step) < 0.55) {
      const int64_t size = 1 + draws.below(3 * step + 1, 40);
      const auto range = free.take(size);
      ASSERT_EQ(range, model.fitting(size)) << "step " << step;
      if (!range) {
        ++refused;
        continue;
      }
      model.set(*range, false);
      taken.push_back(*range);
    } else if (!taken.empty()) {
      const auto which = taken.begin() + draws.below(3 * step + 1, static_cast<int64_t>(taken.size()));
      free.put(*which);
      model.set(*which, true);
      taken.erase(which);
    }
    ASSERT_EQ(free.all(), model.runs()) << "step " << step;
  }
  EXPECT_GT(refused, 50) << "it was full now and then";
}

}  // namespace
}  // namespace parallel
