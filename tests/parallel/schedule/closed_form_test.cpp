#include "parallel/schedule/closed_form.h"

#include <gtest/gtest.h>

#include "tests/parallel/schedule/schedule_support.h"

namespace {

using parallel::Direction;
using parallel::LayerTimes;

constexpr parallel::FsmoeLayer kGolden{.sequences = 4, .length = 1024, .width = 1024, .hidden = 4096, .copies = 2.4};

/// To the four printed digits.
void expect_milliseconds(double seconds, double printed) { EXPECT_NEAR(1e3 * seconds, printed, 0.5000001e-4); }

TEST(LongestOfFour, GoldenForward) {
  const double printed[] = {6.4295, 4.6345, 4.4489, 4.3917, 4.3858, 4.4055, 4.5430, 4.8328};
  for (int64_t r = 1; r <= 8; ++r) {
    expect_milliseconds(longest_of_four(layer_times(kGolden, Direction::kForward, r)), printed[r - 1]);
  }
}

TEST(LongestOfFour, GoldenBackward) {
  const double printed[] = {7.5255, 5.4389, 4.9898, 4.9500, 5.0740, 5.2799, 5.5325, 5.8144};
  for (int64_t r = 1; r <= 8; ++r) {
    expect_milliseconds(longest_of_four(layer_times(kGolden, Direction::kBackward, r)), printed[r - 1]);
  }
}

TEST(LongestOfFour, GoldenWithGradients) {
  struct Row {
    double gradients_ms, printed;
    int64_t chunks;
  };
  for (const Row& row :
       {Row{0, 4.9500, 4}, Row{1, 4.9500, 4}, Row{2, 4.9500, 4}, Row{4, 6.2401, 2}, Row{8, 9.8901, 1}}) {
    const auto seconds = [&](int64_t r) {
      return longest_of_four(layer_times(kGolden, Direction::kBackward, r, 1e-3 * row.gradients_ms));
    };
    int64_t best = 1;
    for (int64_t r = 2; r <= 16; ++r) best = seconds(r) < seconds(best) ? r : best;
    EXPECT_EQ(best, row.chunks) << row.gradients_ms;
    expect_milliseconds(seconds(best), row.printed);
  }
}

TEST(CaseTable, IsTheLongestOfFour) {
  std::mt19937_64 draws(1);
  int64_t seen[5] = {};
  for (int i = 0; i < 2000; ++i) {
    const LayerTimes layer = drawn_times(draws);
    const parallel::CaseTime found = case_table(layer);
    ++seen[found.case_number];
    ASSERT_NEAR(found.seconds, longest_of_four(layer), 1e-12) << "case " << found.case_number << ", draw " << i;
  }
  for (int number = 1; number <= 4; ++number) EXPECT_GT(seen[number], 20) << "case " << number;
}

TEST(LongestOfFour, IsABoundFromBelow) {
  std::mt19937_64 draws(2);
  int64_t below = 0;
  for (int i = 0; i < 500; ++i) {
    LayerTimes layer = drawn_times(draws);
    layer.chunk.reduce_scatter *= 3;
    const double seconds = simulated(layer).seconds;
    ASSERT_LE(longest_of_four(layer), seconds * (1 + 1e-9)) << i;
    ASSERT_LE(case_table(layer).seconds, longest_of_four(layer) * (1 + 1e-9)) << i;
    below += longest_of_four(layer) < seconds * (1 - 1e-6);
  }
  EXPECT_GT(below, 10) << "where the reduce-scatter takes longer it is not exact";
}

}  // namespace
