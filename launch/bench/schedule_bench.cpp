#include "launch/bench/schedule_bench.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/profiles/plan_file.h"
#include "launch/profiles/profile_plan.h"
#include "launch/profiles/step_trace.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

using parallel::Plan;
using parallel::seconds_between;
using parallel::TaskKind;

constexpr int64_t kMostFixedChunks = 256;

/// "fixed:4": all layers in 4 chunks, gradients after backward. 0: no such text.
int64_t fixed_chunks(const std::string& schedule) {
  constexpr std::string_view kFixed = "fixed:";
  if (!schedule.starts_with(kFixed)) return 0;
  int64_t chunks = 0;
  const char* end = schedule.data() + schedule.size();
  const auto [stop, error] = std::from_chars(schedule.data() + kFixed.size(), end, chunks);
  return error == std::errc{} && stop == end && chunks >= 1 && chunks <= kMostFixedChunks ? chunks : 0;
}

Plan bench_plan(const std::string& schedule, const Profile& profile, int64_t layers) {
  if (schedule == "eager") return {.name = "eager"};
  const int64_t chunks = fixed_chunks(schedule);
  if (chunks == 0) return plan_of(schedule, profile, layers);
  Plan plan = parallel::chunked(layers, chunks, chunks);
  plan.name = schedule;
  plan.release = parallel::GradientRelease::kAfterBackward;
  return plan;
}

double largest(double own, const Groups& groups) {
  at::Tensor value = at::full({1}, own, at::kDouble);
  groups.control->all_reduce(value, parallel::ReduceOp::kMax).wait();
  return value.item<double>();
}

}  // namespace

void check_schedule_name(const std::string& name) {
  const std::vector<std::string> names = parallel::builtin_schedules().names();
  if (name == "eager" || fixed_chunks(name) > 0 || std::ranges::find(names, name) != names.end()) return;
  parallel::user_error("unknown schedule '", name, "'; known: ", parallel::list_names(names),
                       ", eager, and fixed:1 to fixed:", kMostFixedChunks);
}

BenchResult bench(TrainingSetup& setup, const BenchOptions& options) {
  parallel::check_internal(!options.schedules.empty() && options.rounds > 0, "bench: nothing to run");
  const Groups& groups = setup.groups;
  const int64_t layers = groups.mesh->schedule()->layers();
  const std::vector<MicroBatch> batches = setup.to_own_device(setup.batches->read(0));
  at::Tensor targets = at::zeros({1}, at::kLong);
  for (const MicroBatch& batch : batches) targets += counted_targets(batch, *groups.mesh);
  groups.control->all_reduce(targets, parallel::ReduceOp::kSum).wait();

  BenchResult result{.profile = setup.profile(/*update=*/0)};
  for (const std::string& schedule : options.schedules) {
    BenchRow& row = result.rows.emplace_back();
    row.schedule = schedule;
    row.plan = bench_plan(schedule, result.profile, layers);
    row.predicted = predicted(result.profile, row.plan).seconds;
  }
  std::vector<std::vector<double>> exposed_of(result.rows.size()), hidden_of(result.rows.size());
  const double engine_before = groups.engine != nullptr ? groups.engine->cpu_seconds() : 0;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t round = -1; round < options.rounds; ++round) {  // the first warms up
    for (size_t i = 0; i < result.rows.size(); ++i) {
      const Plan& plan = result.rows[i].plan;
      groups.mesh->follow(plan);
      groups.control->all_reduce(at::zeros({1}, at::kLong), parallel::ReduceOp::kSum).wait();  // all begin together
      const auto [trace, seconds] = rehearse(setup.state, batches, targets.item<int64_t>(), groups);
      const StepShares shares = shares_of(measured_step(trace, layers, plan.one_link));
      const double exposed = largest(shares.exposed / shares.seconds, groups);
      const double hidden = largest(shares.hidden / shares.seconds, groups);
      if (round < 0) continue;
      result.rows[i].rounds.push_back(seconds);
      exposed_of[i].push_back(exposed);
      hidden_of[i].push_back(hidden);
    }
  }
  const double all = seconds_between(start, std::chrono::steady_clock::now());
  const double engine = groups.engine != nullptr ? groups.engine->cpu_seconds() - engine_before : 0;
  result.engine_share = largest(engine / all, groups);
  setup.state.reducer->zero();
  for (size_t i = 0; i < result.rows.size(); ++i) {
    BenchRow& row = result.rows[i];
    row.seconds = middle(row.rounds);
    row.exposed = parallel::median(exposed_of[i]);
    row.hidden = parallel::median(hidden_of[i]);
    std::vector<double> pairs;
    for (size_t round = 0; round < row.rounds.size(); ++round) {
      pairs.push_back(result.rows[0].rounds[round] / row.rounds[round]);
    }
    row.speed_up = middle(pairs);
  }
  return result;
}

std::string to_text(const BenchResult& result) {
  std::ostringstream text;
  text
      << to_text(result.profile) << std::fixed << std::setprecision(1) << "the thread that carries MPI took "
      << 100 * result.engine_share << " % of a core\n"
      << "schedule         step [ms] (95 %)                   speed-up (95 %)        predicted [ms]  exposed  hidden\n";
  for (const BenchRow& row : result.rows) {
    text << std::left << std::setw(16) << row.schedule << std::right << std::setprecision(1) << std::setw(10)
         << 1e3 * row.seconds.value << " (" << std::setw(8) << 1e3 * row.seconds.low << " to " << std::setw(8)
         << 1e3 * row.seconds.high << ")  " << std::setprecision(3) << std::setw(7) << row.speed_up.value << " ("
         << row.speed_up.low << " to " << row.speed_up.high << ")" << std::setprecision(1) << std::setw(12)
         << 1e3 * row.predicted << std::setw(12) << 100 * row.exposed << " %" << std::setw(6) << 100 * row.hidden
         << " %\n";
  }
  for (const BenchRow& row : result.rows) text << to_text(row.plan);
  return text.str();
}

nlohmann::ordered_json bench_to_json(const BenchResult& result) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const BenchRow& row : result.rows) {
    rows.push_back({{"schedule", row.schedule},
                    {"rounds", row.rounds},
                    {"seconds", to_json(row.seconds)},
                    {"speed_up", to_json(row.speed_up)},
                    {"predicted", row.predicted},
                    {"exposed", row.exposed},
                    {"hidden", row.hidden},
                    {"plan", plan_to_json(row.plan)}});
  }
  return {{"profile", profile_to_json(result.profile)}, {"engine_share", result.engine_share}, {"schedules", rows}};
}

}  // namespace launch
