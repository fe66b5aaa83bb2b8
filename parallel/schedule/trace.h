// defines: Trace, TracedTask, TracedKind: what a rank did when, task by task
#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

namespace parallel {

enum class TracedKind {
  kDispatch,         // all-to-all out
  kGather,           // all-gather over expert_tensor
  kExperts,          // forward, or gradients of rows
  kExpertGradients,  // of weights
  kScatter,          // reduce-scatter over expert_tensor
  kCombine,          // all-to-all back
  kGradients,        // a slice of the other gradients
};

struct TracedTask {
  TracedKind kind = TracedKind::kDispatch;
  bool backward = false;
  int64_t layer = 0, chunk = 0;
  int64_t bytes = 0;  // that this rank hands in; of computing tasks: rows
  std::chrono::steady_clock::time_point begin, end;
};

using Trace = std::vector<TracedTask>;

}  // namespace parallel
