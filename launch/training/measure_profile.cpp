#include "launch/training/measure_profile.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <utility>

#include "launch/profiles/profile_plan.h"
#include "moetrain/experts/expert_weights.h"
#include "parallel/device/device_library.h"
#include "parallel/device/stream_mark.h"
#include "parallel/links/link_probe.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

using parallel::Collective;
using parallel::Communicator;
using parallel::Line;
using parallel::Sample;
using parallel::StepModel;

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
    action(layer.dense_gradient_bytes);  // on a rank without tokens they come up elsewhere
  }
  action(model.head_forward_seconds), action(model.head_backward_seconds), action(model.head_gradient_bytes);
  action(model.contention.compute), action(model.contention.link);
}

/// The slowest rank's, on every rank.
void agree(StepModel& model, Communicator& group) {
  std::vector<double> numbers;
  for_each_number(model, [&](auto& number) { numbers.push_back(static_cast<double>(number)); });
  at::Tensor all = at::tensor(numbers, at::kDouble);
  group.all_reduce(all, parallel::ReduceOp::kMax).wait();
  const double* next = all.const_data_ptr<double>();
  for_each_number(model, [&](auto& number) { number = static_cast<std::decay_t<decltype(number)>>(*next++); });
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

/// Seconds of one call on the device of `clock`, the middle of several.
template <class Action>
double time_of(Action&& action, const parallel::DeviceClock& clock, double seconds) {
  std::vector<double> times;
  double spent = 0;
  action();  // page faults and packing are not counted
  while (times.size() < 3 || (times.size() < 9 && spent < seconds)) {
    parallel::TraceRecorder recorder(clock);
    const parallel::Moment begin = recorder.now();
    action();
    times.push_back(recorder.seconds(begin, recorder.now()));
    spent += times.back();
  }
  return parallel::median(times);
}

ExpertSize size_of(const moetrain::ExpertCall& call) {
  return {.multiply_adds_of_row = call.costs.multiply_adds, .matrices = call.costs.matrices};
}

/// By number in the schedule. `places`: of a row, where rows are whole sequences.
std::vector<moetrain::ExpertCall> expert_calls(const moetrain::Model& model, int64_t layers, int64_t places) {
  std::vector<moetrain::ExpertCall> all(static_cast<size_t>(layers));
  for (const auto& module : model.modules()) {
    const auto* experts = dynamic_cast<const moetrain::ExpertWeights*>(module.get());
    if (experts == nullptr) continue;
    for (moetrain::ExpertCall& call : experts->calls(places)) {
      all.at(static_cast<size_t>(call.group.layer)) = std::move(call);
    }
  }
  return all;
}

/// Tokens of the longest sequence, which no rank sees otherwise.
int64_t longest_of(const std::vector<MicroBatch>& batches) {
  int64_t longest = 1;
  for (const MicroBatch& batch : batches) {
    const moetrain::ModelInputs& inputs = batch.batch.inputs;
    longest = std::max({longest, inputs.tokens.longest, inputs.source ? inputs.source->longest : 0});
  }
  return longest;
}

/// The experts' lines over multiply-adds, on the first 1/8, 1/4, 1/2 and all of `rows`, an even share for each expert.
/// No lines where there are too few rows.
void measure_experts(const moetrain::ExpertCall& experts, int64_t rows, double seconds, parallel::CostLines& lines) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> weights, gradients;
  for (const at::Tensor& weight : experts.weights) {
    weights.push_back(weight.detach());
    gradients.push_back(at::empty_like(weights.back()));
  }
  const parallel::DeviceClock clock = parallel::clock_of(weights[0].device());
  const parallel::ExpertGroup& group = experts.group;
  const parallel::ExpertCompute& compute = *experts.compute;
  const int64_t count = group.map.count(group.mesh->place().expert), width = experts.row_width;
  const double of_row = experts.costs.multiply_adds;
  const auto zeros_of = [&](const std::vector<int64_t>& widths, int64_t n) {
    parallel::RowTensors tensors;
    for (const int64_t each : widths) tensors.push_back(at::zeros({n, each}, weights[0].options()));
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
    const at::Tensor rows_RD = at::full({n, width}, 0.5, weights[0].options());
    const at::Tensor grad_RD = at::full({n, experts.out_width}, 0.5, weights[0].options());
    const auto saved = zeros_of(compute.saved_widths(width, weights), n),
               kept = zeros_of(compute.kept_widths(width, weights), n);
    const auto of = [&](double taken) { return Sample{static_cast<int64_t>(of_row) * n, taken}; };
    const double limit = seconds / 15;
    forward.push_back(of(time_of([&] { compute.forward(rows_RD, counts, weights, saved); }, clock, limit)));
    input.push_back(
        of(time_of([&] { compute.backward_rows(rows_RD, saved, grad_RD, counts, weights, kept); }, clock, limit)));
    // What was saved was written over so often that it is next to nothing, and denormals take their time.
    compute.forward(rows_RD, counts, weights, saved);
    compute.backward_rows(rows_RD, saved, grad_RD, counts, weights, kept);
    weight.push_back(of(time_of(
        [&] { compute.backward_weights(rows_RD, saved, grad_RD, kept, counts, weights, gradients); }, clock, limit)));
  }
  if (forward.size() < 2) return;
  const auto fit = [&](const std::vector<Sample>& samples) {
    Line line = fit_rising_line(samples);
    line.alpha /= static_cast<double>(std::max<int64_t>(1, experts.costs.matrices));
    return line;
  };
  lines.expert_forward = fit(forward);
  lines.expert_input_gradient = fit(input);
  lines.expert_weight_gradient = fit(weight);
}

/// Of the updates that `run` rehearses under a plan the middle one by time: of five, or of three where they take longer
/// than `seconds`. The first of all is not counted: it opens connections and touches memory. Collective.
template <class Run>
Rehearsal middle_of(Run&& run, double seconds) {
  constexpr size_t kFewest = 3, kMost = 5;
  run();
  std::vector<Rehearsal> updates;
  for (double spent = 0; updates.size() < kMost && (updates.size() != kFewest || spent <= seconds);) {
    updates.push_back(run());
    spent += updates.back().seconds;
  }
  const auto middle = updates.begin() + static_cast<std::ptrdiff_t>(updates.size() / 2);
  std::ranges::nth_element(updates, middle, {}, &Rehearsal::seconds);
  return std::move(*middle);
}

}  // namespace

Profile measure_profile(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets,
                        const Groups& groups, const std::string& machine, const OverlapConfig& config) {
  const double seconds = config.profile_seconds;
  const parallel::Mesh& mesh = *groups.mesh;
  const parallel::Plan plan = mesh.schedule()->plan();
  const std::vector<moetrain::ExpertCall> experts =
      expert_calls(*state.model, mesh.schedule()->layers(), longest_of(batches));
  std::vector<ExpertSize> sizes;
  for (const moetrain::ExpertCall& each : experts) sizes.push_back(size_of(each));
  const auto rehearse_under = [&](const parallel::Plan& tried) {
    mesh.follow(tried);
    return middle_of([&] { return rehearse(state, batches, targets, groups); }, seconds / 4);
  };
  const auto [trace, taken] = rehearse_under({.release = parallel::GradientRelease::kAfterBackward});
  Profile profile = profile_of(trace, sizes);
  profile.machine = machine;
  profile.seconds = taken;
  StepModel& model = profile.model;
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
  const moetrain::ExpertCall* largest = nullptr;
  for (const moetrain::ExpertCall& each : experts) {
    if (each.costs.parameters > (largest == nullptr ? 0 : largest->costs.parameters)) largest = &each;
  }
  if (largest != nullptr) {
    double multiply_adds = 0;
    for (const parallel::LayerLoad& layer : model.layers) multiply_adds = std::max(multiply_adds, layer.multiply_adds);
    const auto rows = static_cast<int64_t>(multiply_adds / largest->costs.multiply_adds);
    measure_experts(*largest, rows, seconds / 5, model.lines);
  }
  agree(model, *groups.control);
  if (groups.control->size() > 1 && !model.layers.empty()) {
    const auto in_pieces = [&](int64_t carve_out) {
      // The same plan on every rank, whatever it has measured.
      parallel::Plan pieces = parallel::chunked(mesh.schedule()->layers(), 4, 4);
      pieces.carve_out = carve_out;
      const at::Tensor slowest = at::full({1}, rehearse_under(pieces).seconds, at::kDouble);
      groups.control->all_reduce(slowest, parallel::ReduceOp::kMax).wait();
      return slowest.item<double>();
    };
    double taken_in_pieces = in_pieces(0);
    if (parallel::is_accelerator(device) && config.carve_out > 0) {
      const double with_carve_out = in_pieces(config.carve_out);
      if (with_carve_out < taken_in_pieces) {
        taken_in_pieces = with_carve_out;
        model.carve_out = config.carve_out;
        model.lines.carve_out =
            static_cast<double>(config.carve_out) / static_cast<double>(parallel::multiprocessors());
      }
    }
    const parallel::Plan pieces = parallel::chunked(mesh.schedule()->layers(), 4, 4);
    const double slower = contention_of(profile, pieces, taken_in_pieces);
    model.contention = {.compute = slower, .link = slower};
    agree(model, *groups.control);
  }
  state.reducer->zero();
  mesh.follow(plan);
  return profile;
}

}  // namespace launch
