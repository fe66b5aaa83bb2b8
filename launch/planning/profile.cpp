#include "launch/planning/profile.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "moetrain/experts/ffn_experts.h"
#include "parallel/base/fault.h"
#include "parallel/links/link_probe.h"

namespace launch {
namespace {

using parallel::Collective;
using parallel::Communicator;
using parallel::Direction;

using parallel::Line;
using parallel::Sample;
using parallel::StepModel;
using parallel::TaskKind;
using parallel::Trace;
using parallel::TracedTask;
using parallel::TracePoint;

double seconds_between(TracePoint begin, TracePoint end) { return std::chrono::duration<double>(end - begin).count(); }

/// One call of an expert layer, as traced in one piece.
struct Call {
  int64_t layer = 0;
  Direction direction = Direction::kForward;
  TracePoint begin, end;
  double own_seconds = 0;  // of its exchanges and multiplications
  double all_to_all_bytes = 0, all_gather_bytes = 0, reduce_scatter_bytes = 0;
  int64_t rows = 0;

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
    if (task.kind == TaskKind::kDispatch) call.all_to_all_bytes += static_cast<double>(task.bytes);
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

/// All numbers of a model in one order, to be agreed on.
template <class Action>
void for_each_number(StepModel& model, Action&& action) {
  auto& lines = model.lines;
  for (Line* line : {&lines.all_to_all, &lines.all_gather, &lines.reduce_scatter, &lines.all_reduce,
                     &lines.expert_forward, &lines.expert_input_gradient, &lines.expert_weight_gradient}) {
    action(line->alpha), action(line->beta), action(line->r2);
  }
  for (parallel::LayerLoad& layer : model.layers) {
    action(layer.all_to_all_bytes), action(layer.all_gather_bytes), action(layer.reduce_scatter_bytes);
    action(layer.multiply_adds), action(layer.dense_forward_seconds), action(layer.dense_backward_seconds);
  }
  action(model.head_forward_seconds), action(model.head_backward_seconds);
}

/// The slowest rank's, on every rank.
void agree(StepModel& model, Communicator& group) {
  std::vector<double> numbers;
  for_each_number(model, [&](double& number) { numbers.push_back(number); });
  at::Tensor all = at::tensor(numbers, at::kDouble);
  group.all_reduce(all, parallel::ReduceOp::kMax).wait();
  const double* next = all.const_data_ptr<double>();
  for_each_number(model, [&](double& number) { number = *next++; });
}

/// Sizes from a 64th of `most` up to it.
std::vector<int64_t> sizes_up_to(double most) {
  std::vector<int64_t> sizes;
  for (int64_t part = 64; part >= 1; part /= 2) {
    const int64_t size = static_cast<int64_t>(most) / part / 8 * 8;
    if (size >= 8 && (sizes.empty() || size > sizes.back())) sizes.push_back(size);
  }
  return sizes;
}

/// Seconds over bytes that a rank hands in, up to `most`; no line where there is nobody to talk to, or nothing to say.
Line measure_link(Communicator& group, Collective collective, double most, at::Device device, double seconds) {
  const bool to_each = collective == Collective::kAllToAll;
  const auto ranks = static_cast<double>(group.size());
  const std::vector<int64_t> sizes = sizes_up_to(to_each ? most / ranks : most);
  if (group.size() == 1 || sizes.size() < 2) return {};
  const auto samples = parallel::probe_link(
      group, {.device = device, .collective = collective, .bytes = sizes, .seconds = seconds, .repetitions = 20});
  Line line = fit_line(samples);
  if (to_each) line.beta /= ranks;
  return line;
}

/// Seconds of one call, the middle of several.
template <class Action>
double time_of(Action&& action, double seconds) {
  std::vector<double> times;
  double spent = 0;
  action();  // page faults and packing are not counted
  while (times.size() < 3 || (times.size() < 9 && spent < seconds)) {
    const TracePoint begin = std::chrono::steady_clock::now();
    action();
    times.push_back(seconds_between(begin, std::chrono::steady_clock::now()));
    spent += times.back();
  }
  return parallel::median(times);
}

ExpertSize size_of(const moetrain::FfnExperts& experts) {
  ExpertSize size{.matrices = static_cast<int64_t>(experts.weights().size())};
  for (const at::Tensor& weight : experts.weights()) {
    size.multiply_adds_of_row += static_cast<double>(weight.size(1) * weight.size(2));
  }
  return size;
}

/// The experts' lines over multiply-adds, on the first 1/8, 1/4, 1/2 and all of `rows`, an even share for each expert.
void measure_experts(const moetrain::FfnExperts& experts, int64_t rows, double seconds, parallel::CostLines& lines) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> weights, gradients;
  for (const at::Tensor& weight : experts.weights()) {
    weights.push_back(weight.detach());
    gradients.push_back(at::empty_like(weights.back()));
  }
  const int64_t count = weights[0].size(0);
  const double of_row = size_of(experts).multiply_adds_of_row;
  const auto places = [&](const std::vector<int64_t>& widths, int64_t n) {
    parallel::RowTensors tensors;
    for (const int64_t width : widths) tensors.push_back(at::zeros({n, width}, weights[0].options()));
    return tensors;
  };
  std::vector<Sample> forward, input, weight;
  for (const int64_t part : {8, 4, 2, 1}) {
    const int64_t n = rows / part;
    if (n < count || (!forward.empty() && n * static_cast<int64_t>(of_row) <= forward.back().bytes)) continue;
    std::vector<int64_t> counts(static_cast<size_t>(count), 0);
    const int64_t share = rows / count;
    for (int64_t e = 0, left = n; e < count; ++e) left -= counts[static_cast<size_t>(e)] = std::min(left, share);
    counts.back() += n - std::accumulate(counts.begin(), counts.end(), int64_t{0});
    const at::Tensor rows_RD = at::full({n, weights[0].size(1)}, 0.5, weights[0].options());
    const auto saved = places(experts.compute().saved_widths(weights), n),
               kept = places(experts.compute().kept_widths(weights), n);
    const auto of = [&](double taken) { return Sample{static_cast<int64_t>(of_row) * n, taken}; };
    const double limit = seconds / 12;
    forward.push_back(of(time_of([&] { experts.compute().forward(rows_RD, counts, weights, saved); }, limit)));
    input.push_back(
        of(time_of([&] { experts.compute().backward_rows(rows_RD, saved, rows_RD, counts, weights, kept); }, limit)));
    weight.push_back(of(
        time_of([&] { experts.compute().backward_weights(rows_RD, saved, rows_RD, kept, counts, gradients); }, limit)));
  }
  if (forward.size() < 2) return;
  const auto fit = [&](const std::vector<Sample>& samples) {
    Line line = fit_line(samples);
    line.alpha /= static_cast<double>(weights.size());
    return line;
  };
  lines.expert_forward = fit(forward);
  lines.expert_input_gradient = fit(input);
  lines.expert_weight_gradient = fit(weight);
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
    if (call.direction != Direction::kForward) continue;
    const ExpertSize& size = experts.at(static_cast<size_t>(call.layer));
    model.layers.push_back({.all_to_all_bytes = call.all_to_all_bytes,
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

Profile measure_profile(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets,
                        const Groups& groups, const std::string& machine, double seconds) {
  const parallel::Mesh& mesh = *groups.mesh;
  const parallel::Plan plan = mesh.schedule()->plan();
  parallel::Plan one_piece;
  one_piece.release = parallel::GradientRelease::kAfterBackward;
  mesh.follow(one_piece);
  std::vector<const moetrain::FfnExperts*> experts(static_cast<size_t>(mesh.schedule()->layers()), nullptr);
  for (const auto& module : state.model->modules()) {
    const auto* found = dynamic_cast<const moetrain::FfnExperts*>(module.get());
    if (found != nullptr) experts.at(static_cast<size_t>(found->group().layer)) = found;
  }
  std::vector<ExpertSize> sizes;
  for (const moetrain::FfnExperts* each : experts) sizes.push_back(each == nullptr ? ExpertSize{} : size_of(*each));
  // The first rehearsal opens connections and touches memory; of the others the fastest is the least disturbed.
  std::optional<Profile> best;
  const TracePoint start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < 6; ++i) {
    Trace trace;
    mesh.schedule()->record(&trace);
    rehearse(state, batches, targets, groups);
    mesh.schedule()->record(nullptr);
    Profile profile = profile_of(trace, sizes);
    profile.machine = machine;
    at::Tensor agreed =
        at::tensor({profile.seconds, seconds_between(start, std::chrono::steady_clock::now())}, at::kDouble);
    groups.control->all_reduce(agreed, parallel::ReduceOp::kMax).wait();
    profile.seconds = agreed[0].item<double>();
    if (i > 0 && (!best || profile.seconds < best->seconds)) best = std::move(profile);
    if (i >= 2 && agreed[1].item<double>() > seconds / 2) break;
  }
  state.reducer->zero();
  StepModel& model = best->model;
  agree(model, *groups.control);
  double all_to_all = 0, all_gather = 0, reduce_scatter = 0, gradients = static_cast<double>(model.head_gradient_bytes);
  for (const parallel::LayerLoad& layer : model.layers) {
    all_to_all = std::max(all_to_all, layer.all_to_all_bytes);
    all_gather = std::max(all_gather, layer.all_gather_bytes);
    reduce_scatter = std::max(reduce_scatter, layer.reduce_scatter_bytes);
    gradients += static_cast<double>(layer.dense_gradient_bytes);
  }
  const at::Device device = state.model->parameters().front().device();
  const double share = seconds / 10;
  model.lines.all_to_all = measure_link(mesh.expert(), Collective::kAllToAll, all_to_all, device, share);
  model.lines.all_gather = measure_link(mesh.expert_tensor(), Collective::kAllGather, all_gather, device, share);
  model.lines.reduce_scatter =
      measure_link(mesh.expert_tensor(), Collective::kReduceScatter, reduce_scatter, device, share);
  model.lines.all_reduce =
      measure_link(*mesh.replicas(parallel::Replicas::kWorld), Collective::kAllReduce, gradients, device, share);
  const moetrain::FfnExperts* largest = nullptr;
  double most = 0;
  for (const moetrain::FfnExperts* each : experts) {
    const double size = each == nullptr ? 0 : static_cast<double>(each->weights()[0].numel());
    if (size > most) largest = each, most = size;
  }
  if (largest != nullptr) {
    double multiply_adds = 0;
    for (const parallel::LayerLoad& layer : model.layers) multiply_adds = std::max(multiply_adds, layer.multiply_adds);
    measure_experts(*largest, static_cast<int64_t>(multiply_adds / size_of(*largest).multiply_adds_of_row), seconds / 5,
                    model.lines);
  }
  agree(model, *groups.control);
  mesh.follow(plan);
  return *best;
}

}  // namespace launch
