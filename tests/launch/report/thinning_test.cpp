#include "launch/report/thinning.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace launch::run_report {
namespace {

std::vector<Point> noisy_curve(size_t count) {
  std::vector<Point> points;
  for (size_t i = 0; i < count; ++i) points.push_back({static_cast<double>(i), std::sin(static_cast<double>(i * i))});
  return points;
}

TEST(Thinning, KeepsAShortCurveAsItIs) { EXPECT_EQ(thinned(noisy_curve(600)), noisy_curve(600)); }

TEST(Thinning, KeepsEndsPeaksAndOrderOfALongCurve) {
  for (const size_t count : {601u, 1000u, 12345u}) {
    std::vector<Point> points = noisy_curve(count);
    points[count / 2].value = 100;
    points[count / 3].value = -100;
    const std::vector<Point> kept = thinned(points);
    EXPECT_LE(kept.size(), kMaxPoints);
    EXPECT_GE(kept.size(), kMaxPoints / 2);
    EXPECT_EQ(kept.front(), points.front());
    EXPECT_EQ(kept.back(), points.back());
    EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(), [](auto& a, auto& b) { return a.step < b.step; }));
    EXPECT_EQ(std::count(kept.begin(), kept.end(), points[count / 2]), 1);
    EXPECT_EQ(std::count(kept.begin(), kept.end(), points[count / 3]), 1);
    for (const Point& point : kept) EXPECT_EQ(point, points[static_cast<size_t>(point.step)]);
  }
}

TEST(Thinning, KeepsAGap) {
  std::vector<Point> points = noisy_curve(5000);
  points[2500].value = std::nan("");
  const std::vector<Point> kept = thinned(points, 50);
  EXPECT_LE(kept.size(), 50u);
  EXPECT_EQ(std::count_if(kept.begin(), kept.end(), [](const Point& point) { return std::isnan(point.value); }), 1);
}

TEST(Thinning, StretchesCoverEverythingOnce) {
  for (const size_t count : {0u, 1u, 7u, 120u, 121u, 999u}) {
    size_t expected_begin = 0;
    for (const Stretch& stretch : stretches(count, kMaxColumns)) {
      EXPECT_EQ(stretch.begin, expected_begin);
      EXPECT_GT(stretch.end, stretch.begin);
      expected_begin = stretch.end;
    }
    EXPECT_EQ(expected_begin, count);
    EXPECT_EQ(stretches(count, kMaxColumns).size(), std::min(count, kMaxColumns));
  }
}

TEST(Thinning, RunningMeanLeavesALineAndSmoothsNoise) {
  std::vector<Point> line, noise;
  for (int i = 0; i < 100; ++i) {
    line.push_back({i * 1.0, 3.0 * i});
    noise.push_back({i * 1.0, i % 2 == 0 ? 1.0 : -1.0});
  }
  noise[40].value = std::nan("");
  EXPECT_EQ(running_mean(line, 11), line);
  const std::vector<Point> smooth = running_mean(noise, 21);
  EXPECT_TRUE(std::isnan(smooth[40].value));
  EXPECT_LT(std::abs(smooth[70].value), 0.05);
}

// ---- What the page is given. ----

}  // namespace
}  // namespace launch::run_report
