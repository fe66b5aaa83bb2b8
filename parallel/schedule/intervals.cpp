#include "parallel/schedule/intervals.h"

#include <algorithm>

namespace parallel {

std::vector<Interval> joined(std::vector<Interval> all, const Interval& bounds) {
  std::ranges::sort(all, {}, &Interval::begin);
  std::vector<Interval> result;
  for (Interval each : all) {
    each = {std::max(each.begin, bounds.begin), std::min(each.end, bounds.end)};
    if (each.end <= each.begin) continue;
    if (!result.empty() && each.begin <= result.back().end) {
      result.back().end = std::max(result.back().end, each.end);
    } else {
      result.push_back(each);
    }
  }
  return result;
}

double length(const std::vector<Interval>& all) {
  double sum = 0;
  for (const Interval& each : all) sum += each.end - each.begin;
  return sum;
}

double length_of_both(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  double sum = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    sum += std::max(0.0, std::min(a[i].end, b[j].end) - std::max(a[i].begin, b[j].begin));
    a[i].end < b[j].end ? ++i : ++j;
  }
  return sum;
}

}  // namespace parallel
