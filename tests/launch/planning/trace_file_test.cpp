#include "launch/profiles/trace_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "parallel/base/fault.h"

namespace {

using launch::measured_step;
using launch::predicted_step;
using launch::shares_of;
using launch::StepRecording;
using launch::StepTask;
using launch::StepTrace;
using launch::trace_to_text;
using nlohmann::json;
using parallel::Direction;
using parallel::Resource;
using parallel::TaskKind;
using parallel::TracePoint;

TracePoint after(int64_t milliseconds) { return TracePoint() + std::chrono::milliseconds(milliseconds); }

/// Two micro-batches of one layer; in the second backward the gradients come up, and their sum goes on after it.
parallel::Trace two_micro_batches() {
  parallel::Trace trace;
  for (const int64_t t : {100, 200}) {
    trace.phases.push_back({after(t), after(t + 40), after(t + 80)});
    trace.tasks.push_back({TaskKind::kDispatch, Direction::kForward, 0, 0, 64, 0, after(t + 10), after(t + 14)});
    trace.tasks.push_back({TaskKind::kAllGather, Direction::kForward, 0, 0, 32, 0, after(t + 14), after(t + 16)});
    trace.tasks.push_back({TaskKind::kExperts, Direction::kForward, 0, 0, 0, 7, after(t + 18), after(t + 22)});
    trace.tasks.push_back({TaskKind::kCombine, Direction::kForward, 0, 0, 64, 0, after(t + 20), after(t + 30)});
    trace.tasks.push_back({TaskKind::kDispatch, Direction::kBackward, 0, 0, 64, 0, after(t + 50), after(t + 54)});
    trace.tasks.push_back({TaskKind::kInputGradient, Direction::kBackward, 0, 0, 0, 7, after(t + 54), after(t + 60)});
  }
  trace.ready = {{after(275), 512}};
  trace.tasks.push_back({TaskKind::kGradient, Direction::kBackward, -1, 0, 512, 0, after(275), after(290)});
  trace.reduced = after(291);
  return trace;
}

/// [ms] of the dense tasks, with their layers.
std::vector<std::array<int64_t, 3>> dense_of(const StepTrace& step, Direction direction) {
  std::vector<std::array<int64_t, 3>> all;
  for (const StepTask& task : step.tasks) {
    if (task.kind != TaskKind::kDense || task.direction != direction) continue;
    EXPECT_EQ(task.resource, Resource::kCompute);
    all.push_back({task.layer, std::lround(task.begin * 1e3), std::lround(task.end * 1e3)});
  }
  return all;
}

TEST(StepTrace, DenseTasksAreWhatLiesBetweenTheCallsAndTheirTasks) {
  const StepTrace step = measured_step(two_micro_batches(), /*layers=*/1, /*one_link=*/false);
  EXPECT_NEAR(step.last_begin, 0.1, 1e-12);
  EXPECT_NEAR(step.seconds, 0.191, 1e-12);
  EXPECT_EQ(step.tasks.size(), 13u + 10u);
  EXPECT_TRUE(std::ranges::is_sorted(step.tasks, {}, &StepTask::begin));
  EXPECT_EQ(dense_of(step, Direction::kForward),
            (std::vector<std::array<int64_t, 3>>{
                {0, 0, 10}, {0, 16, 18}, {1, 30, 40}, {0, 100, 110}, {0, 116, 118}, {1, 130, 140}}));
  // The first backward computes to its end; of the second, what follows the last gradient is waiting.
  EXPECT_EQ(dense_of(step, Direction::kBackward),
            (std::vector<std::array<int64_t, 3>>{{1, 40, 50}, {0, 60, 80}, {1, 140, 150}, {0, 160, 175}}));
}

TEST(StepTrace, ActivationsMadeAgainInBackwardAreNotDense) {
  parallel::Trace trace = two_micro_batches();
  trace.tasks.push_back({TaskKind::kExperts, Direction::kForward, 0, 0, 0, 7, after(264), after(270)});
  const StepTrace step = measured_step(trace, 1, false);
  EXPECT_EQ(
      dense_of(step, Direction::kBackward),
      (std::vector<std::array<int64_t, 3>>{{1, 40, 50}, {0, 60, 80}, {1, 140, 150}, {0, 160, 164}, {0, 170, 175}}));
}

TEST(StepTrace, SharesAreOfTheLastMicroBatch) {
  const launch::StepShares shares = shares_of(measured_step(two_micro_batches(), 1, false));
  EXPECT_NEAR(shares.seconds, 0.091, 1e-12);
  // Compute: 0-10, 16-22, 30-50, 54-75. Links: 10-16 (dispatch, all-gather), 20-30, 50-54, 75-90.
  EXPECT_NEAR(shares.busy[0], 0.057, 1e-12);
  EXPECT_NEAR(shares.busy[1], 0.002, 1e-12);
  EXPECT_NEAR(shares.busy[2], 0.033, 1e-12);
  EXPECT_NEAR(shares.hidden, 0.002, 1e-12);
  EXPECT_NEAR(shares.exposed, 0.033, 1e-12);
  const launch::StepShares one_link = shares_of(measured_step(two_micro_batches(), 1, true));
  EXPECT_EQ(one_link.busy[1], 0);
  EXPECT_NEAR(one_link.busy[2], 0.035, 1e-12);
}

TEST(StepTrace, APredictionHasTheSameForm) {
  parallel::Timeline timeline;
  timeline.tasks = {
      {.layer = 1, .seconds = 0.25},
      {.kind = TaskKind::kDispatch, .resource = Resource::kBetweenHosts, .layer = 0, .chunk = 2, .bytes = 8},
      {.direction = Direction::kBackward, .layer = 2}};
  timeline.times = {{.begin = 0.5, .end = 0.75}, {.begin = 0, .end = 0.5}, {.begin = 0.75, .end = 1}};
  timeline.seconds = 1;
  // Two calls of one layer; what comes after them is the head's.
  const StepTrace step = predicted_step(timeline, {0, 0}, /*layers=*/1, /*begin=*/2);
  EXPECT_EQ(step.last_begin, 2);
  EXPECT_EQ(step.seconds, 3);
  ASSERT_EQ(step.tasks.size(), 3u);
  EXPECT_EQ(step.tasks[0], (StepTask{.kind = TaskKind::kDispatch,
                                     .resource = Resource::kBetweenHosts,
                                     .layer = 0,
                                     .chunk = 2,
                                     .bytes = 8,
                                     .begin = 2,
                                     .end = 2.5}));
  EXPECT_EQ(step.tasks[1].layer, 0);
  EXPECT_EQ(step.tasks[2].layer, 1);
}

/// A file of a text, gone with the test.
struct TextFile {
  explicit TextFile(const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
  ~TextFile() { std::filesystem::remove(path); }
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("trace_file_test." + std::to_string(::getpid()) + ".json");
};

StepRecording recording() {
  const StepTrace step = measured_step(two_micro_batches(), 1, false);
  return {.update = 7, .ranks = {step, step}, .predicted = predicted_step({}, {}, 1, 0.125)};
}

TEST(TraceFile, ComesBackAsItWas) {
  const StepRecording before = recording();
  EXPECT_EQ(launch::step_from_text(to_text(before.ranks[0])), before.ranks[0]);
  const TextFile file(trace_to_text(before));
  const StepRecording after = launch::read_trace(file.path);
  EXPECT_EQ(after.update, 7);
  ASSERT_TRUE(after.predicted.has_value());
  EXPECT_EQ(after.predicted->last_begin, 0.125);
  ASSERT_EQ(after.ranks.size(), 2u);
  ASSERT_EQ(after.ranks[1].tasks.size(), before.ranks[1].tasks.size());
  for (size_t i = 0; i < before.ranks[1].tasks.size(); ++i) {
    StepTask now = after.ranks[1].tasks[i], then = before.ranks[1].tasks[i];
    EXPECT_NEAR(now.begin, then.begin, 1e-9);
    EXPECT_NEAR(now.end, then.end, 1e-9);
    now.begin = then.begin, now.end = then.end;
    EXPECT_EQ(now, then);
  }
}

TEST(TraceFile, IsWhatChromeReads) {
  const json file = json::parse(trace_to_text(recording()));
  std::map<int64_t, std::string> processes;
  std::map<std::pair<int64_t, int64_t>, std::string> threads;
  std::map<std::pair<int64_t, int64_t>, double> busy_until;
  for (const json& event : file.at("traceEvents")) {
    const std::pair<int64_t, int64_t> thread{event.at("pid"), event.at("tid")};
    if (event.at("name") == "process_name") processes[thread.first] = event.at("args").at("name");
    if (event.at("name") == "thread_name") threads[thread] = event.at("args").at("name");
    if (event.at("ph") != "X") continue;
    EXPECT_GE(event.at("ts").get<double>(), busy_until[thread]) << "viewers take what overlaps in a thread for nested";
    busy_until[thread] = event.at("ts").get<double>() + event.at("dur").get<double>() - 1e-6;
  }
  EXPECT_EQ(processes, (std::map<int64_t, std::string>{{0, "rank 0"}, {1, "rank 1"}, {2, "predicted"}}));
  for (const int64_t process : {0, 1, 2}) {
    EXPECT_EQ((threads[{process, 0}]), "compute");
    EXPECT_EQ((threads[{process, 1000}]), "link inside the host");
    EXPECT_EQ((threads[{process, 2000}]), "link between hosts");
  }
  EXPECT_EQ(threads.size(), 9u);
}

TEST(TraceFile, ExchangesThatOverlapStandInLanesOfTheirOwn) {
  StepTrace step{.last_begin = 0, .seconds = 1};
  for (const double begin : {0.1, 0.2, 0.5}) {
    step.tasks.push_back({.kind = TaskKind::kCombine,
                          .resource = Resource::kBetweenHosts,
                          .layer = 0,
                          .begin = begin,
                          .end = begin + 0.25});
  }
  std::vector<int64_t> threads;
  const json file = json::parse(trace_to_text({.update = 1, .ranks = {step}, .predicted = std::nullopt}));
  for (const json& event : file.at("traceEvents")) {
    if (event.at("ph") == "X") threads.push_back(event.at("tid"));
  }
  EXPECT_EQ(threads, (std::vector<int64_t>{2000, 2001, 2000}));
}

TEST(TraceFile, OfALargeJobItKeepsTheFirstRanks) {
  StepTrace step;
  step.tasks.resize(launch::kMostTracedTasks / 2 - 1);
  const TextFile file(trace_to_text({.update = 1, .ranks = {step, step, step, step}, .predicted = std::nullopt}));
  EXPECT_EQ(launch::read_trace(file.path).ranks.size(), 2u);
}

std::string trace_error(const std::string& text) {
  const TextFile file(text);
  try {
    launch::read_trace(file.path);
  } catch (const parallel::UserError& error) {
    return std::string(error.what()).substr(file.path.string().size());
  }
  return "none";
}

TEST(TraceFile, NonsenseIsRefused) {
  EXPECT_THROW(launch::read_trace("/no/such/trace.json"), parallel::UserError);
  EXPECT_EQ(trace_error("{"), ": is not JSON");
  EXPECT_EQ(trace_error("[1]"), ": [1] is no object with keys");
  EXPECT_EQ(trace_error(R"({"traceEvents": []})"),
            ": not a trace that moetrain wrote (otherData.format is not \"moetrain step, 1\")");
  EXPECT_EQ(trace_error(std::string(100'000, '[')), ": nested too deeply for a trace");
  const std::string good = trace_to_text(recording());
  const auto with = [&](const std::string& old_text, const std::string& new_text) {
    std::string text = good;
    const size_t place = text.find(old_text);
    EXPECT_NE(place, std::string::npos) << old_text;
    return trace_error(text.replace(place, old_text.size(), new_text));
  };
  EXPECT_NE(with(R"("kind":"dense")", R"("kind":"<b>")").find("args: kind = \"<b>\" is not legal"), std::string::npos);
  EXPECT_NE(with(R"("ts":0.0)", R"("ts":-1)").find("ts = -1 is not legal"), std::string::npos);
  EXPECT_NE(with(R"("ts":0.0)", R"("ts":1e300)").find("at most"), std::string::npos);
  EXPECT_NE(with(R"("layer":0)", R"("layer":-2)").find("layer = -2 is not legal"), std::string::npos);
  EXPECT_NE(with(R"("ph":"X","pid":0)", R"("ph":"X","pid":3)").find("one of 3 processes"), std::string::npos);
  EXPECT_NE(with(R"("chunk":0)", R"("chunk":0,"text":"x")").find("unknown key \"text\""), std::string::npos);
  EXPECT_EQ(trace_error(good + std::string(1 << 25, ' ')), ": too large for a trace");
}

}  // namespace
