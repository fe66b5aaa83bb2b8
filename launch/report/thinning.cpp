#include "launch/report/thinning.h"

#include <algorithm>
#include <cmath>

#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

/// Indices of the smallest value, the largest value and the first gap of the stretch, in order, each once.
std::vector<size_t> extremes(const std::vector<Point>& points, Stretch stretch) {
  size_t lowest = stretch.end, highest = stretch.end, gap = stretch.end;
  for (size_t i = stretch.begin; i < stretch.end; ++i) {
    const double value = points[i].value;
    if (std::isnan(value)) {
      gap = std::min(gap, i);
      continue;
    }
    if (lowest == stretch.end || value < points[lowest].value) lowest = i;
    if (highest == stretch.end || value > points[highest].value) highest = i;
  }
  std::vector<size_t> kept{lowest, highest, gap};
  std::erase(kept, stretch.end);
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

}  // namespace

std::vector<Stretch> stretches(size_t count, size_t limit) {
  const size_t columns = std::min(count, limit);
  std::vector<Stretch> all;
  for (size_t c = 0; c < columns; ++c) all.push_back({.begin = c * count / columns, .end = (c + 1) * count / columns});
  return all;
}

std::vector<Point> thinned(const std::vector<Point>& points, size_t limit) {
  parallel::check_internal(limit >= 5, "a curve of at most ", limit, " points has no room for its extremes");
  if (points.size() <= limit) return points;
  std::vector<Point> kept{points.front()};
  for (const Stretch& stretch : stretches(points.size() - 2, (limit - 2) / 3))
    for (const size_t i : extremes(points, {.begin = stretch.begin + 1, .end = stretch.end + 1}))
      kept.push_back(points[i]);
  kept.push_back(points.back());
  return kept;
}

std::vector<Point> running_mean(const std::vector<Point>& points, size_t window) {
  std::vector<Point> means = points;
  for (size_t i = 0; i < points.size(); ++i) {
    if (std::isnan(points[i].value)) continue;
    const size_t half = std::min({window / 2, i, points.size() - 1 - i});
    double sum = 0;
    size_t count = 0;
    for (size_t j = i - half; j <= i + half; ++j) {
      if (std::isnan(points[j].value)) continue;
      sum += points[j].value;
      ++count;
    }
    means[i].value = sum / static_cast<double>(count);
  }
  return means;
}

}  // namespace launch::run_report
