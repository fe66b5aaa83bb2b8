#include "parallel/memory/resident_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

namespace parallel {
namespace {

constexpr size_t kBytes = size_t{64} << 20;

TEST(ResidentMemory, WhatWasGivenBackCountsInTheMostAlone) {
  const int64_t before = resident_bytes();
  void* const block = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::memset(block, 1, kBytes);
  const int64_t with = resident_bytes();
  EXPECT_GE(with - before, static_cast<int64_t>(kBytes) * 9 / 10);
  EXPECT_GE(most_resident_bytes(), with);
  munmap(block, kBytes);
  EXPECT_LE(resident_bytes(), with - static_cast<int64_t>(kBytes) * 9 / 10);
  EXPECT_GE(most_resident_bytes(), with);
}

}  // namespace
}  // namespace parallel
