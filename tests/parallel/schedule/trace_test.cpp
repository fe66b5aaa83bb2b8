#include "parallel/schedule/trace.h"

#include <gtest/gtest.h>

#include <thread>

namespace {

using parallel::Direction;
using parallel::Moment;
using parallel::seconds_between;
using parallel::TaskKind;
using parallel::TraceRecorder;

/// Passed at `seconds` of a device's own clock.
class MarkAt : public parallel::DeviceMark {
 public:
  explicit MarkAt(double seconds) : seconds_(seconds) {}
  double seconds_since(const DeviceMark& earlier) const override {
    return seconds_ - dynamic_cast<const MarkAt&>(earlier).seconds_;
  }

 private:
  double seconds_;
};

TEST(TraceRecorder, TakesTheHostsTimesAsTheyAre) {
  TraceRecorder recorder;
  const Moment begin = recorder.now();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const Moment end = recorder.now();
  recorder.add({TaskKind::kExperts, Direction::kBackward, 3, 1, 0, 17}, begin, end);
  recorder.add_ready(end, 64);
  recorder.add_phases(begin, begin, end);
  recorder.set_reduced(end);
  const parallel::Trace trace = recorder.trace();
  ASSERT_EQ(trace.tasks.size(), 1u);
  EXPECT_EQ(trace.tasks[0].layer, 3);
  EXPECT_EQ(trace.tasks[0].rows, 17);
  EXPECT_GE(seconds_between(trace.tasks[0].begin, trace.tasks[0].end), 0.002);
  EXPECT_EQ(trace.ready.at(0).bytes, 64);
  EXPECT_EQ(trace.ready.at(0).time, trace.tasks[0].end);
  EXPECT_EQ(trace.phases.at(0).backward_end, trace.reduced);
  EXPECT_EQ(recorder.seconds(begin, end), seconds_between(trace.tasks[0].begin, trace.tasks[0].end));
}

/// A device whose clock shows 100 s at the first mark and 0.25 s more at each that follows.
TEST(TraceRecorder, PutsADevicesMarksOnTheHostsClock) {
  double shown = 100 - 0.25;
  const auto before = std::chrono::steady_clock::now();
  TraceRecorder recorder([&] { return std::make_shared<MarkAt>(shown += 0.25); });
  const Moment begin = recorder.now();                 // 0.25 s after the recorder's own
  const Moment late(std::make_shared<MarkAt>(102.0));  // another stream's
  recorder.set_reduced(recorder.now());                // 0.5 s after
  recorder.add({TaskKind::kDispatch, Direction::kForward, 0, 0, 8}, begin, late);
  const parallel::TracePoint of_host = std::chrono::steady_clock::now();
  recorder.add({TaskKind::kGradient, Direction::kBackward, -1, 0, 8}, of_host, of_host);
  const parallel::Trace trace = recorder.trace();
  EXPECT_NEAR(seconds_between(trace.tasks.at(0).begin, trace.reduced), 0.25, 1e-9);
  EXPECT_NEAR(seconds_between(trace.tasks.at(0).begin, trace.tasks.at(0).end), 1.75, 1e-9);
  EXPECT_NEAR(seconds_between(before, trace.tasks.at(0).begin), 0.25, 0.1) << "counted from when the first was passed";
  EXPECT_EQ(trace.tasks.at(1).begin, of_host) << "what a host's communicator says needs no device";
}

}  // namespace
