// A list schedule: each resource serves one task at a time, as early as its order and the tasks before it allow.
// defines: InsideOrder, Timeline, busy, simulate, simulate_contended, to_text
#pragma once
#include <string>
#include <vector>

#include "parallel/schedule/intervals.h"
#include "parallel/schedule/task_graph.h"

namespace parallel {

/// In which order the link inside a host serves.
enum class InsideOrder {
  kFixed,  // as listed
  kReady,  // whichever is ready first; as listed where two are at once
};

/// When each task runs; a measured trace has the same form.
struct Timeline {
  std::vector<Task> tasks;
  std::vector<Interval> times;  // of each task
  double seconds = 0;           // when the last task ends
};

/// When any of these resources serves a task; joined.
std::vector<Interval> busy(const Timeline& timeline, const std::vector<Resource>& resources);

/// Links between hosts and compute serve in the tasks' order. A task that waits for one that stands behind it on the
/// same resource never starts: InternalError.
Timeline simulate(std::vector<Task> tasks, InsideOrder inside = InsideOrder::kFixed);

/// The same where a second of compute takes (1 + contention.compute) while a link is busy, and one of a link (1 +
/// contention.link) while compute is: simulated again with tasks as long as what ran beside them made them, until that
/// no longer moves the end.
Timeline simulate_contended(const std::vector<Task>& tasks, const Contention& contention);

/// A row for each task in order of begin: begin, end [ms], resource, direction, kind, layer, chunk, bytes.
std::string to_text(const Timeline& timeline);

}  // namespace parallel
