#include "launch/profiles/profile.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::Direction;
using parallel::seconds_between;
using parallel::StepModel;
using parallel::TaskKind;
using parallel::Trace;
using parallel::TracedTask;
using parallel::TracePoint;

/// One call of an expert layer, as traced in one piece.
struct Call {
  int64_t layer = 0;
  Direction direction = Direction::kForward;
  TracePoint begin, end;
  double own_seconds = 0;  // of its exchanges and multiplications
  double dispatched_bytes = 0, combined_bytes = 0, all_gather_bytes = 0, reduce_scatter_bytes = 0;
  int64_t rows = 0;

  /// What a rank hands in to combine is what dispatch brought it: a link takes as long as its busier direction.
  double all_to_all_bytes() const { return std::max(dispatched_bytes, combined_bytes); }
  /// [s] of what the layer does besides.
  double besides() const { return std::max(0.0, seconds_between(begin, end) - own_seconds); }
};

/// Calls in order. A layer's tasks of one direction follow each other in the trace.
std::vector<Call> calls_of(const Trace& trace, TracePoint from) {
  std::vector<Call> calls;
  for (const TracedTask& task : trace.tasks) {
    if (task.begin < from || task.kind == TaskKind::kGradient || task.kind == TaskKind::kDense) continue;
    const bool begins = calls.empty() || calls.back().layer != task.layer || calls.back().direction != task.direction ||
                        (task.kind == TaskKind::kDispatch && task.chunk == 0);
    if (begins) {
      Call& call = calls.emplace_back();
      call.layer = task.layer;
      call.direction = task.direction;
      call.begin = task.begin;
      call.end = task.end;
    }
    Call& call = calls.back();
    call.begin = std::min(call.begin, task.begin);
    call.end = std::max(call.end, task.end);
    call.own_seconds += seconds_between(task.begin, task.end);
    if (task.kind == TaskKind::kDispatch) call.dispatched_bytes += static_cast<double>(task.bytes);
    if (task.kind == TaskKind::kCombine) call.combined_bytes += static_cast<double>(task.bytes);
    if (task.kind == TaskKind::kAllGather) call.all_gather_bytes += static_cast<double>(task.bytes);
    if (task.kind == TaskKind::kReduceScatter) call.reduce_scatter_bytes += static_cast<double>(task.bytes);
    if (task.kind == TaskKind::kExperts || task.kind == TaskKind::kInputGradient) call.rows += task.rows;
  }
  return calls;
}

int64_t gradient_bytes_between(const Trace& trace, TracePoint begin, TracePoint end) {
  int64_t bytes = 0;
  for (const parallel::ReadyGradient& ready : trace.ready) {
    if (begin <= ready.time && ready.time < end) bytes += ready.bytes;
  }
  return bytes;
}

}  // namespace

Profile profile_of(const Trace& trace, const std::vector<ExpertSize>& experts) {
  parallel::check_internal(!trace.phases.empty(), "profile_of: the trace holds no step");
  const parallel::StepPhases& phases = trace.phases.back();
  const std::vector<Call> calls = calls_of(trace, phases.forward_begin);
  Profile profile{.seconds = seconds_between(phases.forward_begin, trace.reduced)};
  StepModel& model = profile.model;
  TracePoint last = phases.forward_begin;
  for (const Call& call : calls) {
    // Made again in backward (recompute, further passes) it is part of the dense time there.
    if (call.direction != Direction::kForward || call.begin >= phases.backward_begin) continue;
    const ExpertSize& size = experts.at(static_cast<size_t>(call.layer));
    model.layers.push_back({.all_to_all_bytes = call.all_to_all_bytes(),
                            .all_gather_bytes = call.all_gather_bytes,
                            .reduce_scatter_bytes = call.reduce_scatter_bytes,
                            .multiply_adds = size.multiply_adds_of_row * static_cast<double>(call.rows),
                            .matrices = size.matrices,
                            // What the layer does besides (rows put in order) counts as dense.
                            .dense_forward_seconds = seconds_between(last, call.begin) + call.besides()});
    profile.layer_of_call.push_back(call.layer);
    last = call.end;
  }
  model.head_forward_seconds = seconds_between(last, phases.backward_begin);
  // Backward takes the calls in reverse; what lies between two of them is the dense part in front of the later one.
  last = phases.backward_begin;
  double* dense_seconds = &model.head_backward_seconds;
  int64_t* dense_bytes = &model.head_gradient_bytes;
  size_t next = model.layers.size();
  for (const Call& call : calls) {
    if (call.direction != Direction::kBackward) continue;
    do --next;  // past calls without a backward, such as a teacher's
    while (next > 0 && profile.layer_of_call[next] != call.layer);
    *dense_seconds += seconds_between(last, call.begin);
    *dense_bytes += gradient_bytes_between(trace, last, call.end);
    dense_seconds = &model.layers[next].dense_backward_seconds;
    dense_bytes = &model.layers[next].dense_gradient_bytes;
    *dense_seconds += call.besides();
    last = call.end;
    if (next == 0) break;
  }
  *dense_seconds += seconds_between(last, phases.backward_end);
  *dense_bytes += gradient_bytes_between(trace, last, TracePoint::max());
  return profile;
}

}  // namespace launch
