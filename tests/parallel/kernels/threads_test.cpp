#include "parallel/kernels/threads.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace parallel {
namespace {

class Threads : public testing::TestWithParam<int> {
 protected:
  Threads() : before_(omp_get_max_threads()) { omp_set_num_threads(GetParam()); }
  ~Threads() override { omp_set_num_threads(before_); }

 private:
  int before_;
};

TEST_P(Threads, EveryPartIsDoneOnce) {
  EXPECT_EQ(threads_at_hand(), GetParam());
  for (const int64_t parts : {0, 1, 2, 7, 100}) {
    std::vector<std::atomic<int>> done(static_cast<size_t>(parts));
    for_each_part(parts, [&](int64_t part) { ++done[static_cast<size_t>(part)]; });
    for (const std::atomic<int>& times : done) EXPECT_EQ(times, 1);
  }
}

TEST_P(Threads, WhatIsSharedOutAlreadyIsDoneInTurn) {
  std::atomic<int> done = 0, alone = 0;
  for_each_part(4, [&](int64_t) {
    alone += GetParam() == 1 || threads_at_hand() == 1 ? 1 : 0;
    for_each_part(3, [&](int64_t) { ++done; });
  });
  EXPECT_EQ(done, 12);
  EXPECT_EQ(alone, 4);
}

TEST_P(Threads, WhatOneThrowsComesOut) {
  const auto thrown = [](int64_t at) {
    for_each_part(5, [&](int64_t part) {
      if (part == at) throw std::out_of_range("part");
    });
  };
  for (const int64_t at : {0, 4}) EXPECT_THROW(thrown(at), std::out_of_range);
  try {  // of several the first
    for_each_part(9, [](int64_t part) { throw std::out_of_range(std::to_string(part)); });
    ADD_FAILURE();
  } catch (const std::out_of_range& first) {
    EXPECT_STREQ(first.what(), "0");
  }
}

INSTANTIATE_TEST_SUITE_P(All, Threads, testing::Values(1, 3));

}  // namespace
}  // namespace parallel
