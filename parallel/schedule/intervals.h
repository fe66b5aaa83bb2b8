// Stretches of time, as sets: what a resource was busy in.
// defines: Interval, kAlways, joined, length, length_of_both
#pragma once
#include <limits>
#include <vector>

namespace parallel {

/// [s], from the step's start.
struct Interval {
  double begin = 0, end = 0;
};

constexpr Interval kAlways{-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};

/// Their union, in order and apart, without what lies outside `bounds`.
std::vector<Interval> joined(std::vector<Interval> all, const Interval& bounds = kAlways);

double length(const std::vector<Interval>& all);

/// [s] that lie in both; each is joined.
double length_of_both(const std::vector<Interval>& a, const std::vector<Interval>& b);

}  // namespace parallel
