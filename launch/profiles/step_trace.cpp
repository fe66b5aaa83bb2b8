#include "launch/profiles/step_trace.h"

#include <algorithm>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/schedule/intervals.h"

namespace launch {
namespace {

using parallel::Direction;
using parallel::Interval;
using parallel::Resource;
using parallel::TaskKind;
using parallel::TracedTask;
using parallel::TracePoint;

Resource resource_of(TaskKind kind, bool one_link) {
  switch (kind) {
    case TaskKind::kDispatch:
    case TaskKind::kCombine:
    case TaskKind::kGradient:
      return Resource::kBetweenHosts;
    case TaskKind::kAllGather:
    case TaskKind::kReduceScatter:
      return one_link ? Resource::kBetweenHosts : Resource::kInsideHost;
    default:
      return Resource::kCompute;
  }
}

/// One call of an expert layer.
struct LayerCall {
  int64_t layer = 0;
  Direction direction = Direction::kForward;
  Interval span;
  std::vector<Interval> tasks;
};

/// The calls that begin within `bounds`, in order. (Backward has forward's in it where it makes activations again.)
std::vector<LayerCall> layer_calls(const std::vector<StepTask>& tasks, const Interval& bounds) {
  std::vector<LayerCall> calls;
  for (const StepTask& task : tasks) {  // in the order of the trace: a call's tasks follow each other
    if (task.kind == TaskKind::kGradient || task.begin < bounds.begin || task.begin >= bounds.end) continue;
    const bool begins = calls.empty() || calls.back().layer != task.layer || calls.back().direction != task.direction ||
                        (task.kind == TaskKind::kDispatch && task.chunk == 0);
    if (begins) {
      calls.push_back({.layer = task.layer, .direction = task.direction, .span = {task.begin, task.end}, .tasks = {}});
    }
    LayerCall& call = calls.back();
    call.span = {std::min(call.span.begin, task.begin), std::max(call.span.end, task.end)};
    call.tasks.push_back({task.begin, task.end});
  }
  return calls;
}

/// The dense tasks of one direction of a micro-batch. `head`: what counts as the head's layer.
void add_dense(std::vector<StepTask>& dense, const std::vector<LayerCall>& calls, Direction direction,
               const Interval& bounds, int64_t head) {
  const auto add = [&](int64_t layer, double begin, double end) {
    if (end <= begin) return;
    dense.push_back({.kind = TaskKind::kDense, .direction = direction, .layer = layer, .begin = begin, .end = end});
  };
  const bool forward = direction == Direction::kForward;
  double last = bounds.begin;
  int64_t behind = head;  // the layer that was called last
  for (const LayerCall& call : calls) {
    add(forward ? call.layer : behind, last, call.span.begin);
    last = call.span.begin;
    for (const Interval& busy : joined(call.tasks, call.span)) {
      add(call.layer, last, busy.begin);
      last = busy.end;
    }
    behind = call.layer;
  }
  add(forward ? head : behind, last, bounds.end);
}

}  // namespace

StepTrace measured_step(const parallel::Trace& trace, int64_t layers, bool one_link) {
  parallel::check_internal(!trace.phases.empty(), "measured_step: the trace holds no step");
  const TracePoint origin = trace.phases.front().forward_begin;
  const auto since = [&](TracePoint point) { return parallel::seconds_between(origin, point); };
  StepTrace step{.last_begin = since(trace.phases.back().forward_begin), .seconds = since(trace.reduced)};
  for (const TracedTask& task : trace.tasks) {
    step.tasks.push_back({.kind = task.kind,
                          .resource = resource_of(task.kind, one_link),
                          .direction = task.direction,
                          .layer = task.layer,
                          .chunk = task.chunk,
                          .bytes = static_cast<double>(task.bytes),
                          .rows = task.rows,
                          .begin = since(task.begin),
                          .end = since(task.end)});
  }
  std::vector<StepTask> dense;
  for (const parallel::StepPhases& phase : trace.phases) {
    const Interval forward{since(phase.forward_begin), since(phase.backward_begin)};
    Interval backward{since(phase.backward_begin), since(phase.backward_end)};
    const auto back = layer_calls(step.tasks, backward);
    // Where gradients are sharded too, the end of a micro-batch waits for their sums: that is not compute.
    double ready = backward.begin;
    for (const parallel::ReadyGradient& each : trace.ready) {
      if (each.time >= phase.backward_begin && each.time <= phase.backward_end) ready = since(each.time);
    }
    if (ready > backward.begin) backward.end = std::max(ready, back.empty() ? ready : back.back().span.end);
    add_dense(dense, layer_calls(step.tasks, forward), Direction::kForward, forward, layers);
    add_dense(dense, back, Direction::kBackward, backward, layers);
  }
  step.tasks.insert(step.tasks.end(), dense.begin(), dense.end());
  std::ranges::stable_sort(step.tasks, {}, &StepTask::begin);
  return step;
}

StepTrace predicted_step(const parallel::Timeline& timeline, const std::vector<int64_t>& layer_of_call, int64_t layers,
                         double begin) {
  StepTrace step{.last_begin = begin, .seconds = begin + timeline.seconds};
  for (size_t i = 0; i < timeline.tasks.size(); ++i) {
    const parallel::Task& task = timeline.tasks[i];
    const auto call = static_cast<size_t>(task.layer);
    step.tasks.push_back({.kind = task.kind,
                          .resource = task.resource,
                          .direction = task.direction,
                          .layer = call < layer_of_call.size() ? layer_of_call[call] : layers,
                          .chunk = task.chunk,
                          .bytes = task.bytes,
                          .begin = begin + timeline.times[i].begin,
                          .end = begin + timeline.times[i].end});
  }
  std::ranges::stable_sort(step.tasks, {}, &StepTask::begin);
  return step;
}

StepShares shares_of(const StepTrace& step) {
  const Interval bounds{step.last_begin, step.seconds};
  std::array<std::vector<Interval>, parallel::kResources> busy;
  std::vector<Interval> links;
  for (const StepTask& task : step.tasks) {
    busy[static_cast<size_t>(task.resource)].push_back({task.begin, task.end});
    if (task.resource != Resource::kCompute) links.push_back({task.begin, task.end});
  }
  StepShares shares{.seconds = bounds.end - bounds.begin};
  for (size_t r = 0; r < busy.size(); ++r) shares.busy[r] = length(busy[r] = joined(std::move(busy[r]), bounds));
  links = joined(std::move(links), bounds);
  shares.hidden = length_of_both(links, busy[static_cast<size_t>(Resource::kCompute)]);
  shares.exposed = length(links) - shares.hidden;
  return shares;
}

}  // namespace launch
