// The clusters and layers of FSMoE's evaluation, by its published constants.
// Source: FSMoE, table of fitted performance models and section 6 (element: 4 bytes; its lines are in ms over
// elements). The all-gather's and the all-reduce's slopes of test bed A are ten times their neighbours'; they stand as
// published. defines: TestBed, fsmoe_a, fsmoe_b, FsmoeLayer, fsmoe_lines, fsmoe_load
#pragma once
#include <cmath>
#include <cstdint>

#include "parallel/schedule/costs.h"

namespace parallel {

struct TestBed {
  const char* name = "";
  int64_t hosts = 1, ranks_per_host = 1;
  Line multiply;                                            // [s] over multiply-adds
  Line all_to_all, all_gather, reduce_scatter, all_reduce;  // [s] over [byte]
};

namespace published {
constexpr Line over_elements(double alpha_ms, double beta_ms) {
  return {.alpha = 1e-3 * alpha_ms, .beta = 1e-3 * beta_ms / 4};
}
constexpr Line over_multiply_adds(double alpha_ms, double beta_ms) {
  return {.alpha = 1e-3 * alpha_ms, .beta = 1e-3 * beta_ms};
}
}  // namespace published

/// 6 hosts of 8 A6000.
inline constexpr TestBed fsmoe_a() {
  return {.name = "A",
          .hosts = 6,
          .ranks_per_host = 8,
          .multiply = published::over_multiply_adds(4.26e-2, 2.29e-11),
          .all_to_all = published::over_elements(2.87e-1, 2.21e-7),
          .all_gather = published::over_elements(3.37e-1, 2.32e-6),
          .reduce_scatter = published::over_elements(3.95e-1, 2.34e-7),
          .all_reduce = published::over_elements(5.11e-1, 4.95e-6)};
}

/// 8 hosts of 4 RTX 2080 Ti.
inline constexpr TestBed fsmoe_b() {
  return {.name = "B",
          .hosts = 8,
          .ranks_per_host = 4,
          .multiply = published::over_multiply_adds(9.24e-2, 4.42e-11),
          .all_to_all = published::over_elements(1.75e-1, 3.06e-7),
          .all_gather = published::over_elements(3.20e-2, 1.68e-7),
          .reduce_scatter = published::over_elements(3.91e-2, 1.67e-7),
          .all_reduce = published::over_elements(8.37e-2, 5.99e-7)};
}

/// One block: attention and MoE; expert = hosts, expert_tensor = tensor = ranks of a host.
struct FsmoeLayer {
  int64_t sequences = 1, length = 1024, width = 1024, hidden = 4096;
  double copies = 2.4;   // of each token: choices x capacity factor
  int64_t matrices = 2;  // of an expert: 2 or (gated) 3
};

inline CostLines fsmoe_lines(const TestBed& bed) {
  return {.all_to_all = bed.all_to_all,
          .all_gather = bed.all_gather,
          .reduce_scatter = bed.reduce_scatter,
          .all_reduce = bed.all_reduce,
          .expert_forward = bed.multiply,
          .expert_input_gradient = bed.multiply,
          .expert_weight_gradient = bed.multiply};
}

inline LayerLoad fsmoe_load(const TestBed& bed, const FsmoeLayer& layer) {
  const auto tokens = static_cast<double>(layer.sequences * layer.length), width = static_cast<double>(layer.width);
  const auto length = static_cast<double>(layer.length), hidden = static_cast<double>(layer.hidden);
  const auto ranks = static_cast<double>(bed.ranks_per_host), matrices = static_cast<double>(layer.matrices);
  const double routed = layer.copies * tokens * width;                                          // elements
  const double attention = (4 * tokens * width * width + 2 * tokens * length * width) / ranks;  // multiply-adds
  const double exchanges = bed.all_gather.seconds(4 * tokens * width) + bed.reduce_scatter.seconds(4 * tokens * width);
  const auto dense = [&](double times) {
    return times * (4 * bed.multiply.alpha + bed.multiply.beta * attention) + exchanges;
  };
  return {.all_to_all_bytes = 4 * routed / ranks,
          .all_gather_bytes = 4 * routed,
          .reduce_scatter_bytes = 4 * routed,
          .multiply_adds = matrices * routed * hidden / ranks,
          .matrices = layer.matrices,
          .dense_forward_seconds = dense(1),
          .dense_backward_seconds = dense(2),
          .dense_gradient_bytes = std::llround(4 * 4 * width * width / ranks)};
}

}  // namespace parallel
