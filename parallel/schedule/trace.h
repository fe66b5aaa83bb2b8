// What a rank did when, task by task: measured, to be held against what the simulator predicts.
// defines: Trace, TracedTask, ReadyGradient, StepPhases
#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

#include "parallel/schedule/task_graph.h"

namespace parallel {

using TracePoint = std::chrono::steady_clock::time_point;

/// An exchange is under way from its start to when its end was seen; where the communicator does not know (NCCL) it is
/// absent. Backward's experts are in two tasks.
struct TracedTask {
  TaskKind kind = TaskKind::kDense;
  Direction direction = Direction::kForward;
  int64_t layer = 0, chunk = 0;  // of a gradient: its slice
  int64_t bytes = 0;             // [byte] that this rank hands in
  int64_t rows = 0;              // of tasks that compute
  TracePoint begin, end;
};

/// A parameter's gradient was complete, and so many bytes of it go over a wire.
struct ReadyGradient {
  TracePoint time;
  int64_t bytes = 0;
};

/// Of one micro-batch.
struct StepPhases {
  TracePoint forward_begin, backward_begin, backward_end;
};

struct Trace {
  std::vector<TracedTask> tasks;  // in the order in which their ends were noted
  std::vector<ReadyGradient> ready;
  std::vector<StepPhases> phases;
  TracePoint reduced;  // when all gradients had been summed
};

}  // namespace parallel
