// What a rank did when, task by task: measured, to be held against what the simulator predicts.
// defines: Trace, TracedTask, ReadyGradient, StepPhases, TraceRecorder
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "parallel/base/moment.h"
#include "parallel/schedule/task_graph.h"

namespace parallel {

/// On the host's clock. An exchange is under way from its start to when its end was seen, on a GPU while its stream was
/// at it. Backward's experts are in two tasks.
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

/// Takes a trace down. What runs on a device is noted by marks, so that noting waits for nothing.
class TraceRecorder {
 public:
  /// clock: of the device that computes.
  explicit TraceRecorder(DeviceClock clock = {});

  Moment now() const { return Moment::now(clock_); }

  /// The task's own times are not looked at.
  void add(const TracedTask& task, const Moment& begin, const Moment& end) { tasks_.push_back({task, begin, end}); }
  void add_ready(const Moment& time, int64_t bytes) { ready_.emplace_back(time, bytes); }
  void add_phases(const Moment& forward_begin, const Moment& backward_begin, const Moment& backward_end) {
    phases_.push_back({forward_begin, backward_begin, backward_end});
  }
  void set_reduced(const Moment& time) { reduced_ = time; }

  /// [s]; waits for the device.
  double seconds(const Moment& begin, const Moment& end) const {
    return seconds_between(begin.point(passed_), end.point(passed_));
  }
  /// What was noted; waits for the device.
  Trace trace() const;

 private:
  struct Task {
    TracedTask task;
    Moment begin, end;
  };
  struct Phases {
    Moment forward_begin, backward_begin, backward_end;
  };

  DeviceClock clock_;
  std::pair<std::shared_ptr<const DeviceMark>, TracePoint> passed_;  // by the device, before all else
  std::vector<Task> tasks_;
  std::vector<std::pair<Moment, int64_t>> ready_;
  std::vector<Phases> phases_;
  Moment reduced_;
};

}  // namespace parallel
