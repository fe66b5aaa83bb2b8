#include "parallel/schedule/trace.h"

namespace parallel {

TraceRecorder::TraceRecorder(DeviceClock clock) : clock_(std::move(clock)) {
  if (!clock_) return;
  passed_.first = clock_();
  passed_.first->seconds_since(*passed_.first);  // waits
  passed_.second = std::chrono::steady_clock::now();
}

Trace TraceRecorder::trace() const {
  const auto at = [&](const Moment& moment) { return moment.point(passed_); };
  Trace trace{.reduced = at(reduced_)};
  for (const auto& [task, begin, end] : tasks_) {
    TracedTask& timed = trace.tasks.emplace_back(task);
    timed.begin = at(begin);
    timed.end = at(end);
  }
  for (const auto& [time, bytes] : ready_) trace.ready.push_back({at(time), bytes});
  for (const auto& [forward, backward, end] : phases_) trace.phases.push_back({at(forward), at(backward), at(end)});
  return trace;
}

}  // namespace parallel
