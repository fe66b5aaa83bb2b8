#include "parallel/process/start_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace {

const parallel::Launch kLaunch{.name = "mpirun", .job = "1", .rank = 0, .ranks = 4, .host_ranks = 3};

void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << word << " in: " << text;
}

TEST(LateMessage, NamesWhoIsMissingHere) {
  const parallel::HostArrivals here{.host = "node3", .arrived = {0, 2}, .elsewhere = {{1, "sleep (process 12)"}}};
  EXPECT_FALSE(here.complete(kLaunch));
  expect_words(late_message(kLaunch, here, 3, false),
               {"after 3 s", "2 of the 3 ranks of host node3", "(0, 2)", "of 4 in all", "missing here: 1",
                "in place of rank 1 runs sleep (process 12)", "--start-limit"});
}

TEST(LateMessage, SaysThatThisHostIsNotTheOne) {
  const parallel::HostArrivals here{.host = "node3", .arrived = {0, 1, 2}, .elsewhere = {}};
  EXPECT_TRUE(here.complete(kLaunch));
  expect_words(late_message(kLaunch, here, 60, false), {"3 of the 3", "(0-2)", "on other hosts"});
}

TEST(LateMessage, KnowsAWrongInterface) {
  expect_words(late_message(kLaunch, {.host = "node3", .arrived = {}, .elsewhere = {}}, 60, true),
               {"all 4 ranks have started MPI", "OMPI_MCA_btl_tcp_if_include", "moetrain doctor"});
}

TEST(Deadline, CallsOnlyWhatIsLate) {
  std::atomic<int> late = 0;
  {
    const parallel::Deadline in_time(60, "test", [&] { ++late; });
  }
  EXPECT_EQ(late, 0);
  {
    const parallel::Deadline too_late(0.01, "test", [&] { ++late; });
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  EXPECT_EQ(late, 1);
}

}  // namespace
