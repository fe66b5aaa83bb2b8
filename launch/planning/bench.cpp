#include "launch/planning/bench.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/planning/overlap.h"
#include "launch/planning/plan_file.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

using parallel::Plan;
using parallel::seconds_between;
using parallel::TaskKind;

/// "fixed:4": all layers in 4 chunks, gradients after backward. 0: no such text.
int64_t fixed_chunks(const std::string& schedule) {
  constexpr std::string_view kFixed = "fixed:";
  if (!schedule.starts_with(kFixed)) return 0;
  int64_t chunks = 0;
  const char* end = schedule.data() + schedule.size();
  const auto [stop, error] = std::from_chars(schedule.data() + kFixed.size(), end, chunks);
  return error == std::errc{} && stop == end && chunks >= 1 && chunks <= 256 ? chunks : 0;
}

Plan plan_of(const std::string& schedule, const Profile& profile, const Groups& groups) {
  if (const int64_t chunks = fixed_chunks(schedule); chunks > 0) {
    return {.name = schedule,
            .overlap = true,
            .release = parallel::GradientRelease::kAfterBackward,
            .layers = std::vector<parallel::LayerPlan>(static_cast<size_t>(groups.mesh->schedule()->layers()),
                                                       {.forward_chunks = chunks, .backward_chunks = chunks})};
  }
  if (schedule == "eager") return {.name = "eager"};
  return make_plan(schedule, profile, groups);
}

/// Seconds in which this rank's trace has an exchange under way.
double communication(const parallel::Trace& trace) {
  std::vector<std::pair<parallel::TracePoint, parallel::TracePoint>> spans;
  for (const parallel::TracedTask& task : trace.tasks) {
    const bool computes = task.kind == TaskKind::kExperts || task.kind == TaskKind::kInputGradient ||
                          task.kind == TaskKind::kWeightGradient;
    if (!computes) spans.emplace_back(task.begin, task.end);
  }
  std::ranges::sort(spans);
  double seconds = 0;
  parallel::TracePoint until{};
  for (const auto& [begin, end] : spans) {
    if (end <= until) continue;
    seconds += seconds_between(std::max(begin, until), end);
    until = end;
  }
  return seconds;
}

double slowest(double seconds, const Groups& groups) {
  at::Tensor value = at::full({1}, seconds, at::kDouble);
  groups.control->all_reduce(value, parallel::ReduceOp::kMax).wait();
  return value.item<double>();
}

}  // namespace

Middle middle(std::vector<double> values) {
  parallel::check_internal(!values.empty(), "middle: no values");
  std::ranges::sort(values);
  const auto n = static_cast<double>(values.size());
  // The k-th smallest and k-th largest of n hold the true middle with 95 %, by the normal form of the binomial.
  const auto k = static_cast<size_t>(std::max(0.0, std::floor((n - 1.96 * std::sqrt(n)) / 2)));
  return {parallel::median(values), values[k], values[values.size() - 1 - k]};
}

BenchResult bench(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets, const Groups& groups,
                  const std::string& machine, const BenchOptions& options) {
  parallel::check_internal(!options.schedules.empty() && options.rounds > 0, "bench: nothing to run");
  BenchResult result{.profile = measure_profile(state, batches, targets, groups, machine, options.profile_seconds)};
  for (const std::string& schedule : options.schedules) {
    BenchRow& row = result.rows.emplace_back();
    row.schedule = schedule;
    row.plan = plan_of(schedule, result.profile, groups);
    row.predicted = predicted_step(result.profile, row.plan).seconds;
  }
  std::vector<std::vector<double>> seconds(result.rows.size());
  std::vector<double> exchanging;
  const double engine_before = groups.engine != nullptr ? groups.engine->cpu_seconds() : 0;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t round = -1; round < options.rounds; ++round) {  // the first warms up
    for (size_t i = 0; i < result.rows.size(); ++i) {
      groups.mesh->follow(result.rows[i].plan);
      parallel::Trace trace;
      groups.mesh->schedule()->record(&trace);
      groups.control->all_reduce(at::zeros({1}, at::kLong), parallel::ReduceOp::kSum).wait();  // all begin together
      rehearse(state, batches, targets, groups);
      groups.mesh->schedule()->record(nullptr);
      const double taken = slowest(seconds_between(trace.phases.front().forward_begin, trace.reduced), groups);
      if (round < 0) continue;
      seconds[i].push_back(taken);
      if (i == 0) exchanging.push_back(slowest(communication(trace), groups));
    }
  }
  const double all = seconds_between(start, std::chrono::steady_clock::now());
  const double engine = groups.engine != nullptr ? groups.engine->cpu_seconds() - engine_before : 0;
  result.engine_share = slowest(engine / all, groups);
  state.reducer->zero();
  const double whole = parallel::median(seconds[0]);
  result.communication_share = parallel::median(exchanging) / whole;
  const double computing = whole * (1 - result.communication_share);
  for (size_t i = 0; i < result.rows.size(); ++i) {
    BenchRow& row = result.rows[i];
    row.seconds = middle(seconds[i]);
    std::vector<double> pairs;
    for (size_t round = 0; round < seconds[i].size(); ++round) pairs.push_back(seconds[0][round] / seconds[i][round]);
    row.speed_up = middle(pairs);
    row.exposed = std::max(0.0, 1 - computing / row.seconds.value);
  }
  return result;
}

std::string to_text(const BenchResult& result) {
  std::ostringstream text;
  text << to_text(result.profile) << std::fixed << std::setprecision(1) << "exchanges are "
       << 100 * result.communication_share << " % of a step under " << result.rows.front().schedule
       << "; the thread that carries MPI took " << 100 * result.engine_share << " % of a core\n"
       << "schedule            step [ms] (95 %)             speed-up (95 %)          predicted [ms]  exposed\n";
  for (const BenchRow& row : result.rows) {
    text << std::left << std::setw(16) << row.schedule << std::right << std::setprecision(1) << std::setw(10)
         << 1e3 * row.seconds.value << " (" << std::setw(8) << 1e3 * row.seconds.low << " to " << std::setw(8)
         << 1e3 * row.seconds.high << ")  " << std::setprecision(3) << std::setw(7) << row.speed_up.value << " ("
         << row.speed_up.low << " to " << row.speed_up.high << ")" << std::setprecision(1) << std::setw(12)
         << 1e3 * row.predicted << std::setw(12) << 100 * row.exposed << " %\n";
  }
  for (const BenchRow& row : result.rows) text << to_text(row.plan);
  return text.str();
}

nlohmann::ordered_json bench_to_json(const BenchResult& result) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const auto of = [](const Middle& middle) {
    return nlohmann::ordered_json{{"median", middle.value}, {"low", middle.low}, {"high", middle.high}};
  };
  for (const BenchRow& row : result.rows) {
    rows.push_back({{"schedule", row.schedule},
                    {"seconds", of(row.seconds)},
                    {"speed_up", of(row.speed_up)},
                    {"predicted", row.predicted},
                    {"exposed", row.exposed},
                    {"plan", plan_to_json(row.plan)}});
  }
  return {{"profile", profile_to_json(result.profile)},
          {"communication_share", result.communication_share},
          {"engine_share", result.engine_share},
          {"schedules", rows}};
}

}  // namespace launch
