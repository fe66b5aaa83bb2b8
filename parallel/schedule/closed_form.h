// The time of one MoE layer without simulating it. Exact where all-gather and reduce-scatter take equally long; where
// they do not, the four paths are a bound from below.
// Source: FSMoE, section 4.2 (four cases), and the longest of four paths that they amount to.
// defines: LayerTimes, CaseTime, longest_of_four, longest_on_one_link, case_table
#pragma once
#include <cstdint>

#include "parallel/schedule/costs.h"

namespace parallel {

/// A layer in r chunks whose backward is one task.
struct LayerTimes {
  ChunkTimes chunk;  // [s]
  int64_t chunks = 1;
  double gradients = 0;  // [s] of the link between hosts, between the last dispatch and the first combine
};

/// [s]: the link between hosts; compute; the exchanges with a bubble of one all-gather and one reduce-scatter; the link
/// inside a host.
double longest_of_four(const LayerTimes& layer);

/// [s] on one link: the link, or compute.
double longest_on_one_link(const LayerTimes& layer);

/// Which of FSMoE's four cases holds, and its time.
struct CaseTime {
  int case_number = 0;
  double seconds = 0;
};
CaseTime case_table(const LayerTimes& layer);

}  // namespace parallel
