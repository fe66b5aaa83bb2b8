// What a run folder's trace.json becomes on the page; what it may hold: tests/launch/planning/trace_file_test.cpp.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "launch/report/report.h"
#include "launch/report/timeline_data.h"
#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

StepRecording long_recording(size_t ranks, int64_t tasks) {
  StepTrace step{.last_begin = 1, .seconds = 1 + static_cast<double>(tasks)};
  for (int64_t i = -1; i < tasks; ++i) {
    const double begin = 1 + static_cast<double>(i);
    step.tasks.push_back({.chunk = i + 1, .begin = begin, .end = begin + (i % 2 == 0 ? 0.5 : 0.25)});
  }
  return {.update = 3, .ranks = std::vector<StepTrace>(ranks, step), .predicted = std::nullopt};
}

TEST(TimelineReport, AMalformedTraceIsTheUsersFault) {
  const auto folder = std::filesystem::temp_directory_path() / ("timeline_test_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "metrics.jsonl") << R"({"event":"step","step":1,"loss":{"total":2.5}})"
                                          << "\n";
  const auto complaint = [&](const std::string& trace) -> std::string {
    std::ofstream(folder / "trace.json") << trace;
    try {
      write_report(folder);
    } catch (const parallel::UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(complaint("{"), (folder / "trace.json").string() + ": is not JSON");
  EXPECT_NE(complaint("{}").find("not a trace that moetrain wrote"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "report.html"));
  EXPECT_EQ(complaint(trace_to_text(long_recording(1, 2))), "");
  EXPECT_TRUE(std::filesystem::exists(folder / "report.html"));
  std::filesystem::remove_all(folder);
}

TEST(TimelineData, IsOfTheLastMicroBatchAndBounded) {
  const nlohmann::ordered_json few = timeline_data(long_recording(2, 3));
  ASSERT_EQ(few["ranks"].size(), 2u);
  EXPECT_EQ(few["rank_count"], 2);
  EXPECT_EQ(few["left_out"], 0);
  EXPECT_EQ(few["ranks"][0]["tasks"].size(), 3u) << "what ended before is not drawn";
  EXPECT_EQ(few["ranks"][1]["tasks"][1]["begin"], 1000.0);
  EXPECT_EQ(few["ranks"][1]["end"], 3000.0);
  EXPECT_TRUE(few["predicted"].is_null());
  const auto many = static_cast<int64_t>(kDrawnTasks) * 3 / 2;
  const nlohmann::ordered_json bounded = timeline_data(long_recording(kDrawnRanks + 3, many));
  EXPECT_EQ(bounded["ranks"].size(), kDrawnRanks);
  EXPECT_EQ(bounded["rank_count"], kDrawnRanks + 3);
  EXPECT_EQ(bounded["left_out"], kDrawnRanks * (static_cast<size_t>(many) - kDrawnTasks));
  size_t longer = 0;
  double last = -1;
  for (const Json& task : bounded["ranks"][0]["tasks"]) {
    longer += task["end"].get<double>() - task["begin"].get<double>() > 400 ? 1 : 0;
    EXPECT_GT(task["begin"].get<double>(), last);
    last = task["begin"];
  }
  EXPECT_EQ(longer, static_cast<size_t>(many) / 2) << "the short ones are left out";
}

}  // namespace
}  // namespace launch::run_report
