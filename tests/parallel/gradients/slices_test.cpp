#include "parallel/gradients/slices.h"

#include <gtest/gtest.h>

#include <vector>

namespace parallel {
namespace {

constexpr int64_t kElement = 4;  // [bytes]

/// Two parameters of 6 and 4 elements in one bucket, one of 5 in another, over the same ranks.
std::vector<SlicedBucket> two_buckets() {
  static const int kRanks = 0;
  return {{.elements = 10, .group = &kRanks, .places = {{0, 6}, {6, 4}}},
          {.elements = 5, .group = &kRanks, .places = {{0, 5}}}};
}

std::vector<int64_t> numbers_of(SliceQueue& queue) {
  std::vector<int64_t> numbers;
  while (const Slice* slice = queue.take()) numbers.push_back(slice->number);
  return numbers;
}

TEST(Slices, WithoutAPlanAreWholeBuckets) {
  const std::vector<Slice> slices = cut_slices(two_buckets(), {}, kElement);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].elements, (ElementRange{0, 10}));
  EXPECT_EQ(slices[0].parameters, 2);
  EXPECT_EQ(slices[1].bytes_up_to, 15 * kElement);
  EXPECT_TRUE(slices[0].ends_bucket && slices[1].ends_bucket);
}

TEST(Slices, EndWhereThePlanSaysAndAtItsSize) {
  Plan plan{.release = GradientRelease::kPlanned, .slice_bytes = 5 * kElement};
  plan.layers = {{.dense_gradient_bytes = 7 * kElement}};
  const std::vector<Slice> slices = cut_slices(two_buckets(), plan, kElement);
  std::vector<ElementRange> elements;
  for (const Slice& slice : slices) elements.push_back(slice.elements);
  EXPECT_EQ(elements, (std::vector<ElementRange>{{0, 5}, {5, 2}, {7, 3}, {0, 5}}));
  EXPECT_EQ(slices[1].parameters, 2) << "the last of one and the first of the other";
  EXPECT_FALSE(slices[1].ends_bucket);
}

TEST(Slices, GoInOrderOnceTheyAreComplete) {
  SliceQueue queue;
  queue.cut(two_buckets(), {}, kElement);
  queue.begin_round();
  queue.complete(1, {0, 5});
  EXPECT_EQ(numbers_of(queue), std::vector<int64_t>{}) << "the first is before it";
  queue.complete(0, {6, 4});
  EXPECT_EQ(numbers_of(queue), std::vector<int64_t>{});
  queue.complete(0, {0, 6});
  EXPECT_EQ(numbers_of(queue), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(queue.oldest()->number, 0);
  queue.retire_oldest();
  queue.retire_oldest();
  EXPECT_EQ(queue.oldest(), nullptr);
}

TEST(Slices, WaitForThePlansReleaseOrTheEnd) {
  Plan plan{.release = GradientRelease::kPlanned};
  plan.layers = {{.dense_gradient_bytes = 7 * kElement}};
  SliceQueue queue;
  queue.cut(two_buckets(), plan, kElement);
  queue.begin_round();
  queue.complete(0, {0, 6});
  queue.complete(0, {6, 4});
  EXPECT_EQ(numbers_of(queue), std::vector<int64_t>{});
  queue.release(7 * kElement);
  EXPECT_EQ(numbers_of(queue), std::vector<int64_t>{0}) << "elements 0 to 7 of the first bucket";
  queue.end_round();
  EXPECT_EQ(numbers_of(queue), (std::vector<int64_t>{1, 2})) << "whatever has not come";
}

}  // namespace
}  // namespace parallel
