// Blocks that are given back serve again, within a bound, and small ones are not kept.
#include "parallel/memory/kept_memory.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

namespace parallel {
namespace {

constexpr size_t kMiB = 1 << 20;

TEST(KeptMemory, ABlockGivenBackServesAgainAlsoOneThatIsALittleSmaller) {
  KeptMemory memory;
  const void* first = memory.allocate(10 * kMiB).get();
  EXPECT_EQ(memory.allocate(10 * kMiB).get(), first);
  EXPECT_EQ(memory.allocate(9 * kMiB).get(), first);
  EXPECT_EQ(memory.use().fresh, 1);
  EXPECT_NE(memory.allocate(2 * kMiB).get(), first);
  EXPECT_EQ(memory.use().fresh, 2);
  EXPECT_EQ(memory.use().in_use, 0);
}

TEST(KeptMemory, WhatIsInUseIsNobodyElses) {
  KeptMemory memory;
  std::vector<c10::DataPtr> blocks;
  for (int i = 0; i < 20; ++i) {
    blocks.push_back(memory.allocate(kMiB + static_cast<size_t>(i) * 5000));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().get()) % 64, 0U);
    std::memset(blocks.back().get(), i, kMiB + static_cast<size_t>(i) * 5000);
    if (i % 3 == 2) blocks.erase(blocks.begin() + i / 3);
  }
  for (const c10::DataPtr& block : blocks) {
    const auto* bytes = static_cast<const unsigned char*>(block.get());
    EXPECT_EQ(bytes[0], bytes[kMiB - 1]);
  }
}

TEST(KeptMemory, HoldsNoMoreThanTheSurplusAboveTheMostInUse) {
  KeptMemory memory;
  int64_t most = 0;
  for (size_t step = 0; step < 200; ++step) {  // sizes that come and never come again
    const c10::DataPtr one = memory.allocate((step * 7919 % 97 + 1) * 300'000);
    const c10::DataPtr other = memory.allocate((step * 104729 % 89 + 1) * 200'000);
    const KeptMemory::Use use = memory.use();
    most = std::max(most, use.in_use);
    EXPECT_EQ(use.most_in_use, most);
    EXPECT_LE(use.in_use + use.kept, most + most / 4);
  }
  EXPECT_GT(memory.use().kept, most / 2);
  memory.release();
  EXPECT_EQ(memory.use().kept, 0);
  EXPECT_EQ(memory.use().in_use, 0);
}

TEST(KeptMemory, SmallBlocksAreTheSystems) {
  KeptMemory memory;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, static_cast<size_t>(KeptMemory::kLeast) - 100}) {
    const c10::DataPtr block = memory.allocate(bytes);
    EXPECT_NE(block.get(), nullptr);
    std::memset(block.get(), 1, bytes);
  }
  EXPECT_EQ(memory.use().fresh, 0);
}

TEST(KeptMemory, IsWholeAfterTheSystemHasNoMore) {
  KeptMemory memory;
  { const c10::DataPtr block = memory.allocate(kMiB); }
  EXPECT_THROW(memory.allocate(size_t{1} << 60), c10::Error);
  EXPECT_EQ(memory.use().in_use, 0);
  EXPECT_EQ(memory.use().kept, 0) << "given back before it asked again";
  EXPECT_LE(memory.use().most_in_use, static_cast<int64_t>(2 * kMiB)) << "what was never had bounds nothing";
  EXPECT_NE(memory.allocate(kMiB).get(), nullptr);
}

TEST(KeptMemory, AWarmRoundTakesNoPageFaults) {
  KeptMemory memory;
  const auto round = [&] {
    std::vector<c10::DataPtr> blocks;
    for (const size_t bytes : {40 * kMiB, 3 * kMiB, 100 * kMiB, 7 * kMiB}) {
      blocks.push_back(memory.allocate(bytes));
      std::memset(blocks.back().get(), 1, bytes);
    }
  };
  const int64_t before = page_faults();
  round();
  const int64_t first = page_faults() - before;
  for (int i = 0; i < 5; ++i) round();
  EXPECT_LE(page_faults() - before - first, 64);
  EXPECT_EQ(memory.use().fresh, 4);
}

TEST(KeptMemory, ServesThreadsAtOnce) {
  KeptMemory memory;
  std::vector<std::thread> threads;
  std::atomic<bool> whole = true;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 300; ++i) {
        const size_t bytes = (i * 37 % 11 + 1) * 70'000;
        const c10::DataPtr block = memory.allocate(bytes);
        std::memset(block.get(), t, bytes);
        const auto* const last = static_cast<const char*>(block.get()) + bytes - 1;
        if (*static_cast<const char*>(block.get()) != t || *last != t) whole = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(whole);
  EXPECT_EQ(memory.use().in_use, 0);
}

}  // namespace
}  // namespace parallel
