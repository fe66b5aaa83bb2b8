// The simulator against the closed form, and against threads that sleep for as long as tasks should take: what
// tests/figures/simulator_cases starts.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <thread>

#include "parallel/schedule/planner.h"
#include "tests/parallel/schedule/schedule_support.h"

namespace {

using parallel::Direction;
using parallel::Lanes;
using parallel::LayerTimes;
using parallel::Task;

// ---- Part one: numbers against numbers. ----

TEST(SimulatorCases, DrawsEqualTheClosedForm) {
  constexpr int64_t kDraws = 20'000;
  std::mt19937_64 draws(20260715);
  double apart = 0, apart_on_one_link = 0, cases_apart = 0;
  int64_t shorter = 0, longer = 0;
  for (int64_t i = 0; i < kDraws; ++i) {
    const LayerTimes layer = drawn_times(draws);
    const double seconds = simulated(layer).seconds, form = longest_of_four(layer);
    const double ready = simulated(layer, {}, parallel::InsideOrder::kReady).seconds;
    apart = std::max(apart, std::abs(seconds / form - 1));
    cases_apart = std::max(cases_apart, std::abs(case_table(layer).seconds / form - 1));
    apart_on_one_link = std::max(
        apart_on_one_link, std::abs(simulated(layer, {.one_link = true}).seconds / longest_on_one_link(layer) - 1));
    shorter += ready < seconds * (1 - 1e-9);
    longer += ready > seconds * (1 + 1e-9);
  }
  EXPECT_LT(apart, 1e-9);
  EXPECT_LT(cases_apart, 1e-9);
  EXPECT_LT(apart_on_one_link, 1e-9);
  EXPECT_EQ(longer, 0);
  std::printf(
      "one link against its closed form: %.1e; inside link in order of readiness: shorter in %.1f %%, never longer\n",
      apart_on_one_link, 100 * static_cast<double>(shorter) / kDraws);
  std::printf("walked %lld draws: simulator against closed form %.1e, case table against closed form %.1e\n",
              static_cast<long long>(kDraws), apart, cases_apart);
}

// ---- Part two: real threads, modelled times. ----

constexpr double kSlower = 10;  // a task sleeps ten times its modelled time, so that waking up is little of it

struct Run {
  double seconds = 0;      // in units of the model
  bool disturbed = false;  // some sleep ended over 2 ms late: other work held the processor
};

/// One thread for each resource walks its tasks in their order; a task begins when those before it have ended.
Run run_in_threads(const std::vector<Task>& tasks) {
  using Clock = std::chrono::steady_clock;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<char> ended(tasks.size(), 0);
  bool started = false;
  Run run;
  const auto walk = [&](parallel::Resource resource) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return started; });
    for (size_t i = 0; i < tasks.size(); ++i) {
      if (tasks[i].resource != resource) continue;
      changed.wait(lock, [&] {
        for (const int64_t before : tasks[i].after) {
          if (before >= 0 && !ended[static_cast<size_t>(before)]) return false;
        }
        return true;
      });
      lock.unlock();
      const std::chrono::duration<double> length(kSlower * tasks[i].seconds);
      const auto begin = Clock::now();
      std::this_thread::sleep_for(length);
      const bool late = Clock::now() - begin > length + std::chrono::milliseconds(2);
      lock.lock();
      run.disturbed |= late;
      ended[i] = 1;
      changed.notify_all();
    }
  };
  std::vector<std::thread> threads;
  for (const parallel::Resource resource :
       {parallel::Resource::kCompute, parallel::Resource::kInsideHost, parallel::Resource::kBetweenHosts}) {
    threads.emplace_back(walk, resource);
  }
  const auto begin = Clock::now();
  {
    const std::lock_guard lock(mutex);
    started = true;
  }
  changed.notify_all();
  for (std::thread& thread : threads) thread.join();
  run.seconds = std::chrono::duration<double>(Clock::now() - begin).count() / kSlower;
  return run;
}

/// The least of three undisturbed runs, or of twelve: a thread may wake up late, never early.
double seconds_in_threads(const std::vector<Task>& tasks) {
  double least = std::numeric_limits<double>::infinity();
  for (int runs = 0, undisturbed = 0; runs < 12 && undisturbed < 3; ++runs) {
    const Run run = run_in_threads(tasks);
    least = std::min(least, run.seconds);
    undisturbed += !run.disturbed;
  }
  return least;
}

struct DrawnLayer {
  parallel::CostLines lines;
  parallel::LayerLoad load;
  int64_t gradient_bytes = 0;
};

/// A layer of FSMoE's grid on either test bed, up to as many gradient bytes as its dense part has.
DrawnLayer drawn_layer(std::mt19937_64& draws) {
  const auto one_of = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[draws() % sizeof...(values)];
  };
  const parallel::TestBed bed = draws() % 2 == 0 ? parallel::fsmoe_a() : parallel::fsmoe_b();
  const int64_t width = one_of(1024, 2048);
  const parallel::FsmoeLayer shape{.sequences = one_of(1, 2),
                                   .length = one_of(256, 512, 1024),
                                   .width = width,
                                   .hidden = width * one_of(2, 3, 4),
                                   .copies = one_of(2.0, 2.4),
                                   .matrices = one_of(2, 3)};
  const parallel::LayerLoad load = fsmoe_load(bed, shape);
  return {fsmoe_lines(bed), load, load.dense_gradient_bytes * one_of(0, 1, 2, 3, 4) / 4};
}

/// Backward with its best number of chunks on these lanes.
std::vector<Task> best_tasks(const DrawnLayer& drawn, const Lanes& lanes, parallel::ExpertBackward experts) {
  const parallel::PlanOptions options{.experts = experts};
  const parallel::GradientCost cost{.all_reduce = drawn.lines.all_reduce};
  const parallel::BackwardLayer layer{.options =
                                          chunk_options(drawn.lines, drawn.load, Direction::kBackward, lanes, options)};
  const int64_t chunks = layer.fastest(cost.seconds(drawn.gradient_bytes)).chunks;
  return moe_tasks({.load = drawn.load,
                    .times = chunk_times(drawn.lines, drawn.load, Direction::kBackward, experts, chunks),
                    .direction = Direction::kBackward,
                    .experts = experts,
                    .chunks = chunks,
                    .gradient_bytes = drawn.gradient_bytes},
                   lanes, cost);
}

/// Whether MOETRAIN_QUICK is set: a third of the layers.
bool quick() { return std::getenv("MOETRAIN_QUICK") != nullptr; }

TEST(SimulatorCases, ThreadsTakeAsLongAsPredicted) {
  const int64_t layers = quick() ? 20 : 60;
  std::mt19937_64 draws(7);
  double sum = 0, low = 1e9, high = 0;
  int64_t clear = 0, lost = 0;
  for (int64_t i = 0; i < layers; ++i) {
    const DrawnLayer drawn = drawn_layer(draws);
    const auto experts = i % 2 == 0 ? parallel::ExpertBackward::kOneTask : parallel::ExpertBackward::kTwoTasks;
    const std::vector<Task> two = best_tasks(drawn, {}, experts), one = best_tasks(drawn, {.one_link = true}, experts);
    const double predicted_two = simulate(two).seconds, predicted_one = simulate(one).seconds;
    const double measured_two = seconds_in_threads(two), measured_one = seconds_in_threads(one);
    for (const double ratio : {measured_two / predicted_two, measured_one / predicted_one}) {
      sum += ratio / 2;
      low = std::min(low, ratio);
      high = std::max(high, ratio);
    }
    if (predicted_one > 1.05 * predicted_two) {
      ++clear;
      lost += measured_two >= measured_one;
    }
  }
  const double mean = sum / static_cast<double>(layers);
  EXPECT_LT(mean, 1.05);
  EXPECT_GT(low, 0.999) << "sleeping is never shorter";
  EXPECT_GT(clear, layers / 4) << "too few draws in which the model promises anything";
  EXPECT_EQ(lost, 0) << "two links were not faster though the model says by over 5 %";
  std::printf(
      "walked %lld layers in threads (the least of three runs): measured / predicted %.3f (%.3f to %.3f), two links "
      "faster in %lld of %lld\n",
      static_cast<long long>(layers), mean, low, high, static_cast<long long>(clear - lost),
      static_cast<long long>(clear));
}

}  // namespace
