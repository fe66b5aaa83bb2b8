// defines: drop_late, Priorities, drop_lowest: what leaves an expert that is over its capacity
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "parallel/comm/communicator.h"

namespace moetrain {

// Both mark dropped choices in expert_TK (int64, CPU) with kDropped and return how many of this rank's they dropped.
// capacity_E: how many choices each expert takes.

/// Keeps each expert's first choices in order of (rank of choice, global token). taken_KE: queue length of expert e,
/// before this rank's first token, among choices of rank j; it is consumed.
int64_t drop_late(at::Tensor& expert_TK, at::Tensor taken_KE, const std::vector<int64_t>& capacity_E);

/// By which a full expert keeps choices.
struct Priorities {
  at::Tensor value_TK;  // float64, CPU; not negative
  double bound = 0;     // their tie_bound; 0: drawn, so that only equal bits are equal
};

/// Keeps of each expert the choices of highest priority, joined ones (moetrain/ranking) in order of (rank of choice,
/// global token). Every rank gathers all choices and orders them: 16 bytes for each choice of the global micro-batch.
/// Collective.
int64_t drop_lowest(at::Tensor& expert_TK, const Priorities& priorities, const std::vector<int64_t>& capacity_E,
                    parallel::Communicator& group, at::Device device);

}  // namespace moetrain
