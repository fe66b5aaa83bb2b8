#include "parallel/links/line_fit.h"

#include <algorithm>
#include <cmath>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// Weighted least squares; a negative coefficient becomes 0 and the other one is fitted alone.
Line solve(const std::vector<Sample>& samples, const std::vector<double>& weights) {
  double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const double x = static_cast<double>(samples[i].bytes), y = samples[i].seconds;
    w += weights[i];
    wx += weights[i] * x;
    wy += weights[i] * y;
    wxx += weights[i] * x * x;
    wxy += weights[i] * x * y;
  }
  const double determinant = w * wxx - wx * wx;
  Line line;
  if (determinant > 0) {
    line.beta = (w * wxy - wx * wy) / determinant;
    line.alpha = (wy - line.beta * wx) / w;
  }
  if (line.beta < 0) line = {.alpha = wy / w, .beta = 0};
  if (line.alpha < 0) line = {.alpha = 0, .beta = wxy / wxx};
  return line;
}

/// In units of the line's own value: a sample of twice the time is 1 off.
std::vector<double> relative_distances(const Line& line, const std::vector<Sample>& samples) {
  std::vector<double> distances;
  for (const Sample& sample : samples) {
    const double expected = std::max(line.seconds(static_cast<double>(sample.bytes)), 1e-12);
    distances.push_back(std::abs(sample.seconds - expected) / expected);
  }
  return distances;
}

/// In logarithms: 1 - what is left of the variation.
double explained(const Line& line, const std::vector<Sample>& samples) {
  double mean = 0, left = 0, all = 0;
  for (const Sample& sample : samples) mean += std::log(sample.seconds) / static_cast<double>(samples.size());
  for (const Sample& sample : samples) {
    const double value = std::log(sample.seconds);
    left += std::pow(value - std::log(std::max(line.seconds(static_cast<double>(sample.bytes)), 1e-12)), 2);
    all += std::pow(value - mean, 2);
  }
  return all > 0 ? 1 - left / all : 1;
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Line fit_line(const std::vector<Sample>& samples) {
  check_internal(samples.size() >= 2, "fit_line: ", samples.size(), " samples are no line");
  std::vector<double> weights;
  for (const Sample& sample : samples) {
    check_internal(sample.seconds > 0 && sample.bytes >= 0, "fit_line: a sample of ", sample.seconds, " s");
    weights.push_back(1 / (sample.seconds * sample.seconds));
  }
  Line line = solve(samples, weights);
  for (int round = 0; round < 50; ++round) {
    const std::vector<double> distances = relative_distances(line, samples);
    // 1.5 times the usual distance still counts in full; 1e-3: no clock is better.
    const double usual = std::max(1.5 * 1.4826 * median(distances), 1e-3);
    for (size_t i = 0; i < samples.size(); ++i) {
      const double expected = std::max(line.seconds(static_cast<double>(samples[i].bytes)), 1e-12);
      const double trust = std::min(1.0, usual / std::max(distances[i], 1e-12));
      weights[i] = trust / (expected * expected);
    }
    line = solve(samples, weights);
  }
  line.r2 = explained(line, samples);
  return line;
}

Line fit_rising_line(const std::vector<Sample>& samples) {
  Line line = fit_line(samples);
  if (line.beta > 0) return line;
  const Sample& largest = *std::ranges::max_element(samples, {}, &Sample::bytes);
  line = {.alpha = 0, .beta = largest.seconds / static_cast<double>(largest.bytes)};
  line.r2 = explained(line, samples);
  return line;
}

}  // namespace parallel
