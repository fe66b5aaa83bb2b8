// Fewer points for the same picture: what a page of a long run holds.
// defines: Point, kMaxPoints, kMaxColumns, thinned, running_mean, Stretch, stretches
#pragma once
#include <cstddef>
#include <vector>

namespace launch::run_report {

inline constexpr size_t kMaxPoints = 600;   // of one curve
inline constexpr size_t kMaxColumns = 120;  // of one map or of stacked bars

struct Point {
  double step;
  double value;  // NaN is a gap
  bool operator==(const Point&) const = default;
};

/// At most `limit` (>= 5) of the points, in their order: the first, the last and, of every stretch between, its
/// smallest, its largest and its first gap. All of them where there are no more than `limit`.
std::vector<Point> thinned(const std::vector<Point>& points, size_t limit = kMaxPoints);

/// Each point with the mean of the `window` (odd) points around it; fewer at both ends, so that a line stays a
/// line there. Gaps stay gaps and are left out of the means.
std::vector<Point> running_mean(const std::vector<Point>& points, size_t window);

/// Indices [begin, end) of neighbours that share a column.
struct Stretch {
  size_t begin, end;
};

/// min(count, limit) stretches of nearly equal length that cover [0, count).
std::vector<Stretch> stretches(size_t count, size_t limit);

}  // namespace launch::run_report
