// Blocks are cut from what was given back and joined again, within a bound that the process holds to, and small ones
// are not kept.
#include "parallel/memory/kept_memory.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "parallel/base/random.h"
#include "parallel/memory/resident_memory.h"

namespace parallel {
namespace {

constexpr size_t kMiB = 1 << 20;
const auto kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));

c10::DataPtr filled(KeptMemory& memory, size_t bytes, int value = 1) {
  c10::DataPtr block = memory.allocate(bytes);
  std::memset(block.get(), value, bytes);
  return block;
}

/// So that a fault is a page, and resident is what was touched.
class NoHugePages {
 public:
  NoHugePages() { EXPECT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0); }
  ~NoHugePages() { prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0); }
};

TEST(KeptMemory, ABlockGivenBackServesAgainInPartsAndTheseJoined) {
  KeptMemory memory;
  const void* first = memory.allocate(10 * kMiB).get();
  EXPECT_EQ(memory.allocate(10 * kMiB).get(), first);
  const int64_t fresh = memory.use().fresh;
  for (int round = 0; round < 3; ++round) {
    c10::DataPtr one = memory.allocate(2 * kMiB), other = memory.allocate(5 * kMiB), third = memory.allocate(kMiB);
    for (c10::DataPtr* block : {&one, &third, &other}) {
      EXPECT_GE(block->get(), first);
      EXPECT_LT(block->get(), static_cast<const char*>(first) + 10 * kMiB);
      if (round < 2) block->clear();  // else in the reverse order of their names
    }
  }
  EXPECT_EQ(memory.allocate(10 * kMiB).get(), first);
  EXPECT_EQ(memory.use().fresh, fresh);
  EXPECT_GE(fresh, static_cast<int64_t>(10 * kMiB));
  EXPECT_LE(fresh, static_cast<int64_t>(10 * kMiB + kPage));
  EXPECT_EQ(memory.use().in_use, 0);
  EXPECT_EQ(memory.use().kept, fresh);
}

TEST(KeptMemory, EveryBlockIsAlignedTo64Bytes) {
  KeptMemory memory;
  std::vector<c10::DataPtr> blocks;
  for (size_t bytes = 1; bytes < 200 * kMiB; bytes = bytes * 3 / 2 + 1) {
    blocks.push_back(memory.allocate(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().get()) % 64, 0U) << bytes;
  }
}

TEST(KeptMemory, WhatIsInUseIsNobodyElses) {
  struct Block {
    c10::DataPtr data;
    size_t bytes;
    unsigned char value;
    bool whole() const {
      const auto* const all = static_cast<const unsigned char*>(data.get());
      return std::all_of(all, all + bytes, [&](unsigned char each) { return each == value; });
    }
  };
  KeptMemory memory(0.05);
  std::vector<Block> blocks;
  const RandomStream draws(7, "blocks");
  int64_t in_use = 0;
  const auto pages = [](size_t bytes) { return static_cast<int64_t>((bytes + 64 + kPage - 1) / kPage * kPage); };
  for (int64_t step = 0; step < 3000; ++step) {
    if (blocks.size() < 40 && draws.uniform(3 * step) < 0.6) {
      const size_t bytes = KeptMemory::kLeast + static_cast<size_t>(draws.below(3 * step + 1, 400'000));
      const auto value = static_cast<unsigned char>(step);
      blocks.push_back({filled(memory, bytes, value), bytes, value});
      in_use += pages(bytes);
    } else if (!blocks.empty()) {
      const auto which = blocks.begin() + draws.below(3 * step + 1, static_cast<int64_t>(blocks.size()));
      EXPECT_TRUE(which->whole()) << "step " << step;
      in_use -= pages(which->bytes);
      blocks.erase(which);
    }
    const KeptMemory::Use use = memory.use();
    ASSERT_EQ(use.in_use, in_use);
    ASSERT_LE(static_cast<double>(use.in_use + use.kept), 1.05 * static_cast<double>(use.most_in_use));
  }
  for (const Block& block : blocks) EXPECT_TRUE(block.whole());
}

TEST(KeptMemory, TheProcessHoldsNoMoreThanTheSurplusAboveTheMostInUse) {
  const NoHugePages pages;
  KeptMemory memory(0.1);
  const int64_t before = resident_bytes();
  std::vector<c10::DataPtr> lasting;  // among what comes and goes, so that no address range is free for long
  int64_t most = 0, most_held = 0;
  for (size_t step = 0; step < 200; ++step) {  // sizes that come and never come again
    const c10::DataPtr one = filled(memory, (step * 7919 % 97 + 1) * 100'000);
    if (step % 20 == 0) lasting.push_back(filled(memory, kMiB));
    const c10::DataPtr other = filled(memory, (step * 104729 % 89 + 1) * 70'000);
    const KeptMemory::Use use = memory.use();
    most = std::max(most, use.in_use);
    most_held = std::max(most_held, use.in_use + use.kept);
    EXPECT_EQ(use.most_in_use, most);
    EXPECT_GE(use.most_held, most_held);
    EXPECT_LE(use.most_held, most + most / 10);
    EXPECT_LE(use.in_use + use.kept, most + most / 10);
    EXPECT_LE(resident_bytes() - before, use.in_use + use.kept + static_cast<int64_t>(2 * kMiB)) << "step " << step;
  }
  EXPECT_GT(memory.use().kept, most / 2);
  lasting.clear();
  memory.release();
  EXPECT_EQ(memory.use().kept, 0);
  EXPECT_EQ(memory.use().in_use, 0);
  EXPECT_LE(resident_bytes() - before, static_cast<int64_t>(2 * kMiB));
}

TEST(KeptMemory, SmallBlocksAreTheSystems) {
  KeptMemory memory;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, static_cast<size_t>(KeptMemory::kLeast) - 100}) {
    const c10::DataPtr block = filled(memory, bytes);
    EXPECT_NE(block.get(), nullptr);
  }
  EXPECT_EQ(memory.use().fresh, 0);
}

TEST(KeptMemory, IsWholeAfterTheSystemHasNoMore) {
  KeptMemory memory;
  const c10::DataPtr stays = filled(memory, kMiB, 5);
  { const c10::DataPtr block = filled(memory, kMiB); }
  for (const size_t bytes : {size_t{1} << 50, size_t{1} << 60, ~size_t{0}}) {
    EXPECT_THROW(memory.allocate(bytes), c10::Error);
  }
  EXPECT_EQ(memory.use().kept, 0) << "given back before it asked again";
  EXPECT_LE(memory.use().most_in_use, static_cast<int64_t>(3 * kMiB)) << "what was never had bounds nothing";
  EXPECT_EQ(static_cast<const char*>(stays.get())[kMiB - 1], 5);
  EXPECT_NE(filled(memory, kMiB).get(), nullptr);
}

TEST(KeptMemory, AWarmRoundTakesNoPageFaults) {
  const NoHugePages pages;
  KeptMemory memory;
  const auto round = [&] {
    std::vector<c10::DataPtr> blocks;
    for (const size_t bytes : {40 * kMiB, 3 * kMiB, 100 * kMiB, 7 * kMiB}) blocks.push_back(filled(memory, bytes));
  };
  const int64_t before = page_faults();
  round();
  const int64_t first = page_faults() - before, fresh = memory.use().fresh;
  for (int i = 0; i < 5; ++i) round();
  EXPECT_LE(page_faults() - before - first, 64);
  EXPECT_EQ(memory.use().fresh, fresh);
}

/// Sizes of a training: weights first; a forward whose activations stay and whose scratch goes; a backward that gives
/// them back as it makes gradients; moments from the first update on; rows of experts, as many as tokens choose.
class Training {
 public:
  explicit Training(KeptMemory& memory) : memory_(memory) {
    for (int layer = 0; layer < kLayers; ++layer) {
      take(weights_, 4 * kWidth * kWidth);
      take(weights_, kExperts * 3 * kWidth * kHidden);
    }
  }
  void update(int64_t number) {
    std::vector<Blocks> activations(kLayers);
    Blocks gradients;
    const RandomStream draws(11, "choices", 0, number);
    for (int layer = 0; layer < kLayers; ++layer) {
      Blocks scratch;
      for (const size_t widths : {1, 3, 1, 1}) take(activations[layer], widths * kTokens * kWidth);
      take(scratch, kTokens * 2 * kWidth);
      const auto rows = static_cast<size_t>(2 * kTokens + draws.below(layer, kTokens / 8));
      take(activations[layer], rows * kWidth);
      for (int i = 0; i < 3; ++i) take(activations[layer], rows * kHidden);
      take(scratch, rows * kWidth);
    }
    for (int chunk = 0; chunk < 8; ++chunk) {
      Blocks logits;
      for (int i = 0; i < 2; ++i) take(logits, kTokens / 8 * 4000);
    }
    for (int layer = kLayers; layer-- > 0;) {
      Blocks scratch;
      take(gradients, kExperts * 3 * kWidth * kHidden);
      while (!activations[layer].empty()) {
        take(scratch, kTokens * kWidth);
        activations[layer].pop_back();
      }
      take(gradients, 4 * kWidth * kWidth);
    }
    if (moments_.empty()) {
      for (int twice = 0; twice < 2; ++twice) {
        for (const Block& weight : weights_) take(moments_, weight.numbers);
      }
    }
  }
  void evaluate() {
    for (int layer = 0; layer < kLayers; ++layer) {
      Blocks forward;
      for (const size_t widths : {1, 3, 1, 7}) take(forward, widths * 5 * kTokens / 3 * kWidth);
    }
  }
  void checkpoint() {
    Blocks copies;
    for (const Block& weight : weights_) take(copies, weight.numbers);
  }

 private:
  static constexpr int kLayers = 6;
  static constexpr size_t kWidth = 192, kHidden = 384, kExperts = 4, kTokens = 1024;
  struct Block {
    c10::DataPtr data;
    size_t numbers;
  };
  using Blocks = std::vector<Block>;
  void take(Blocks& to, size_t numbers) { to.push_back({filled(memory_, 4 * numbers), numbers}); }

  KeptMemory& memory_;
  Blocks weights_, moments_;
};

TEST(KeptMemory, ATrainingFitsAndItsUpdatesStayWarm) {
  KeptMemory memory;
  Training training(memory);
  for (int64_t update = 0; update < 40; ++update) {
    training.update(update);
    if (update % 10 == 9) training.evaluate();
    if (update % 20 == 19) training.checkpoint();
  }
  const KeptMemory::Use use = memory.use();
  for (int64_t update = 40; update < 60; ++update) training.update(update);
  const int64_t fresh = (memory.use().fresh - use.fresh) / 20;
  EXPECT_LE(static_cast<double>(use.most_held), 1.05 * static_cast<double>(use.most_in_use));
  EXPECT_LE(fresh, use.most_in_use / 500) << "of a warm update";
}

TEST(KeptMemory, ServesThreadsAtOnce) {
  KeptMemory memory;
  std::vector<std::thread> threads;
  std::atomic<bool> whole = true;
  std::mutex mutex;
  std::deque<c10::DataPtr> handed_on;  // given back by whichever thread finds them
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto value = static_cast<char>(t);
      for (size_t i = 0; i < 50'000; ++i) {
        const size_t bytes = (i * 37 % 11 + 1) * 70'000;
        c10::DataPtr block = memory.allocate(bytes);
        auto* const first = static_cast<char*>(block.get());
        first[0] = first[bytes - 1] = value;
        if (i % 16 == 0) std::this_thread::yield();
        if (first[0] != value || first[bytes - 1] != value) whole = false;
        if (i % 8 != 0) continue;
        c10::DataPtr oldest;  // given back once the lock is off
        const std::lock_guard lock(mutex);
        handed_on.push_back(std::move(block));
        if (handed_on.size() <= 6) continue;
        oldest = std::move(handed_on.front());
        handed_on.pop_front();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  handed_on.clear();
  EXPECT_TRUE(whole);
  EXPECT_EQ(memory.use().in_use, 0);
}

}  // namespace
}  // namespace parallel
