#include "parallel/schedule/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "parallel/base/fault.h"
#include "tests/parallel/schedule/schedule_support.h"

namespace {

using parallel::Direction;
using parallel::InsideOrder;
using parallel::LayerTimes;
using parallel::Resource;
using parallel::Task;
using parallel::TaskKind;
using parallel::Timeline;

TEST(Simulate, EqualsTheClosedForms) {
  std::mt19937_64 draws(3);
  for (int i = 0; i < 1000; ++i) {
    const LayerTimes layer = drawn_times(draws);
    ASSERT_NEAR(simulated(layer).seconds, longest_of_four(layer), 1e-12) << i;
    ASSERT_NEAR(simulated(layer, {.one_link = true}).seconds, longest_on_one_link(layer), 1e-12) << i;
  }
}

TEST(Simulate, WithoutOverlapTimesAddUp) {
  std::mt19937_64 draws(4);
  for (int i = 0; i < 100; ++i) {
    LayerTimes layer = drawn_times(draws);
    layer.gradients = 0;
    const auto& [a, g, s, e, w] = layer.chunk;
    const double all = static_cast<double>(layer.chunks) * (2 * a + g + s + e);
    ASSERT_NEAR(simulated(layer, {.overlap = false}).seconds, all, 1e-12) << i;
  }
}

TEST(Simulate, ReadyOrderIsNeverLongerAndOftenShorter) {
  std::mt19937_64 draws(5);
  int64_t shorter = 0;
  for (int i = 0; i < 1000; ++i) {
    const LayerTimes layer = drawn_times(draws);
    const double fixed = simulated(layer).seconds, ready = simulated(layer, {}, InsideOrder::kReady).seconds;
    ASSERT_LE(ready, fixed * (1 + 1e-12)) << i;
    shorter += ready < fixed * (1 - 1e-6);
  }
  EXPECT_GT(shorter, 30);
}

/// Two chunks of backward in two tasks, by hand: a = 1, g = s = 0, inputs 2, weights 3.
TEST(Simulate, NothingWaitsForWeightGradients) {
  parallel::MoePart part{.load = {.all_to_all_bytes = 20, .multiply_adds = 1},
                         .times = {.all_to_all = 1, .experts = 2, .weight_gradients = 3},
                         .direction = Direction::kBackward,
                         .experts = parallel::ExpertBackward::kTwoTasks,
                         .chunks = 2};
  const Timeline timeline = simulate(moe_tasks(part, {}, {}));
  std::vector<std::tuple<TaskKind, double, double>> got;
  for (size_t i = 0; i < timeline.tasks.size(); ++i) {
    got.emplace_back(timeline.tasks[i].kind, timeline.times[i].begin, timeline.times[i].end);
  }
  const std::vector<std::tuple<TaskKind, double, double>> by_hand = {
      {TaskKind::kDispatch, 0, 1},       {TaskKind::kDispatch, 1, 2},      {TaskKind::kInputGradient, 1, 3},
      {TaskKind::kWeightGradient, 3, 6}, {TaskKind::kInputGradient, 6, 8}, {TaskKind::kWeightGradient, 8, 11},
      {TaskKind::kCombine, 3, 4},        {TaskKind::kCombine, 8, 9}};
  EXPECT_EQ(got, by_hand);
  EXPECT_EQ(timeline.seconds, 11);
  EXPECT_EQ(timeline.tasks.front().bytes, 10);
}

TEST(Simulate, EachResourceServesOneTaskAtATimeAfterThoseBeforeIt) {
  std::mt19937_64 draws(6);
  for (const InsideOrder inside : {InsideOrder::kFixed, InsideOrder::kReady}) {
    const Timeline timeline = simulated(drawn_times(draws), {}, inside);
    for (size_t i = 0; i < timeline.tasks.size(); ++i) {
      for (const int64_t before : timeline.tasks[i].after) {
        EXPECT_TRUE(before < 0 || timeline.times[static_cast<size_t>(before)].end <= timeline.times[i].begin) << i;
      }
      for (size_t j = 0; j < i; ++j) {
        if (timeline.tasks[i].resource != timeline.tasks[j].resource) continue;
        const bool apart =
            timeline.times[i].begin >= timeline.times[j].end || timeline.times[j].begin >= timeline.times[i].end;
        EXPECT_TRUE(apart) << i << " and " << j;
      }
    }
  }
}

TEST(Simulate, GradientsGoBetweenTheLastDispatchAndTheFirstCombine) {
  LayerTimes layer = {
      .chunk = {.all_to_all = 1, .all_gather = 1, .reduce_scatter = 1, .experts = 1}, .chunks = 3, .gradients = 4};
  const Timeline timeline = simulated(layer);
  std::vector<TaskKind> between;
  for (const Task& task : timeline.tasks) {
    if (task.resource == Resource::kBetweenHosts) between.push_back(task.kind);
  }
  const TaskKind d = TaskKind::kDispatch, c = TaskKind::kCombine;
  EXPECT_EQ(between, (std::vector<TaskKind>{d, d, d, TaskKind::kGradient, c, c, c}));
}

TEST(Simulate, NothingTakesNoTime) {
  EXPECT_EQ(parallel::simulate({}).seconds, 0);
  EXPECT_TRUE(parallel::moe_tasks({}, {}, {}).empty()) << "a layer without rows has no tasks";
  const parallel::CostLines lines{.all_to_all = {.alpha = 1}, .expert_forward = {.alpha = 1}};
  const auto times = chunk_times(lines, {}, Direction::kForward, parallel::ExpertBackward::kOneTask, 4);
  EXPECT_EQ(times.all_to_all + times.all_gather + times.experts, 0) << "no bytes, no latency";
}

TEST(Simulate, ATaskWaitsForBothBeforeIt) {
  std::vector<Task> tasks(3);
  tasks[0] = {.resource = Resource::kCompute, .seconds = 5};
  tasks[1] = {.resource = Resource::kBetweenHosts, .seconds = 1};
  tasks[2] = {.resource = Resource::kInsideHost, .seconds = 1, .after = {0, 1}};
  EXPECT_EQ(simulate(tasks).times[2].begin, 5);
  std::swap(tasks[0].seconds, tasks[1].seconds);
  EXPECT_EQ(simulate(tasks).times[2].begin, 5);
}

TEST(Simulate, ComputeBesideALinkTakesLonger) {
  std::vector<Task> tasks(3);
  tasks[0] = {.resource = Resource::kCompute, .seconds = 10};
  tasks[1] = {.resource = Resource::kBetweenHosts, .seconds = 4};
  tasks[2] = {.resource = Resource::kInsideHost, .seconds = 2, .after = {0, -1}};
  EXPECT_EQ(simulate_contended(tasks, {}).seconds, 12);
  // In 4 s beside the link it does 3.2 s of its work; what comes after it is alone.
  const Timeline timeline = simulate_contended(tasks, {.compute = 0.25});
  EXPECT_NEAR(timeline.times[0].end, 10.8, 2e-3);
  EXPECT_NEAR(timeline.seconds, 12.8, 2e-3);
  EXPECT_NEAR(simulate_contended(tasks, {.link = 0.5}).times[1].end, 6, 2e-3);
  tasks[1].after = {2, -1};  // nothing beside compute
  EXPECT_EQ(simulate_contended(tasks, {.compute = 0.25}).seconds, 16);
}

TEST(Simulate, TasksThatWaitForEachOtherAreAFault) {
  std::vector<Task> tasks(2);
  tasks[0] = {.seconds = 1, .after = {1, -1}};
  tasks[1] = {.seconds = 1};
  EXPECT_THROW(simulate(tasks), parallel::InternalError) << "compute serves task 0 first";
  tasks[1].resource = Resource::kInsideHost;
  EXPECT_EQ(simulate(tasks).seconds, 2);
}

TEST(Simulate, TextHasARowForEachTask) {
  const LayerTimes layer = {.chunk = {.all_to_all = 1e-3, .all_gather = 1e-3, .reduce_scatter = 1e-3, .experts = 2e-3},
                            .chunks = 2};
  const Timeline timeline = simulated(layer);
  const std::string text = to_text(timeline);
  EXPECT_EQ(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), timeline.tasks.size() + 2) << text;
  EXPECT_NE(text.find("0.0000     1.0000  between_hosts  backward   dispatch"), std::string::npos) << text;
  EXPECT_NE(text.find("step 8.0000 ms"), std::string::npos) << text;
}

}  // namespace
