#include "parallel/schedule/closed_form.h"

#include <algorithm>

namespace parallel {

double longest_of_four(const LayerTimes& layer) {
  const auto r = static_cast<double>(layer.chunks);
  const auto& [a, g, s, e, w] = layer.chunk;
  return std::max({2 * r * a + layer.gradients, 2 * a + g + s + r * (e + w), 2 * r * a + g + s, 2 * a + r * (g + s)});
}

double longest_on_one_link(const LayerTimes& layer) {
  const auto r = static_cast<double>(layer.chunks);
  const auto& [a, g, s, e, w] = layer.chunk;
  return std::max(r * (2 * a + g + s) + layer.gradients, 2 * a + g + s + r * (e + w));
}

CaseTime case_table(const LayerTimes& layer) {
  const auto r = static_cast<double>(layer.chunks);
  const double a = layer.chunk.all_to_all, g = layer.chunk.all_gather, s = layer.chunk.reduce_scatter;
  const double e = layer.chunk.experts + layer.chunk.weight_gradients, R = layer.gradients;
  // The paper's predicates Q1 to Q7.
  const bool between_is_slower = a > g;
  const bool compute_fills_between = r * e > 2 * (r - 1) * a;
  const bool compute_fills_inside = r * e > (r - 1) * (g + s);
  const bool fills_bubble = R > g + s;
  const bool fills_compute = R > r * e - 2 * (r - 1) * a + g + s;  // Q5 and Q7
  const bool fills_inside = R > r * g + r * s - 2 * (r - 1) * a;
  if (between_is_slower) {
    if (compute_fills_between) {
      if (fills_compute) return {1, 2 * r * a + R};
      return {2, 2 * a + g + s + r * e};
    }
    if (fills_bubble) return {1, 2 * r * a + R};
    return {3, 2 * r * a + g + s};
  }
  if (compute_fills_inside) {
    if (fills_compute) return {1, 2 * r * a + R};
    return {2, 2 * a + g + s + r * e};
  }
  if (fills_inside) return {1, 2 * r * a + R};
  return {4, 2 * a + r * g + r * s};
}

}  // namespace parallel
