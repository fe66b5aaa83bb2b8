#include "parallel/gradients/buckets.h"

#include <gtest/gtest.h>

#include <numeric>

namespace parallel {
namespace {

/// A parameter of `count` matrices.
GradientShape matrices(int64_t count, int64_t own, int64_t whole) {
  return {.elements = count * own, .unit = {.elements = own, .whole = whole}};
}

TEST(Buckets, MatricesAndNumbersTravelApart) {
  const std::vector<GradientShape> gradients{{.elements = 7}, matrices(1, 6, 6), {.elements = 2}, matrices(3, 4, 4)};
  const auto buckets = gradient_buckets(gradients, /*element_bytes=*/4, /*bucket_bytes=*/1 << 20);
  ASSERT_EQ(buckets.size(), 2u);
  EXPECT_EQ(buckets[0].members, (std::vector<size_t>{3, 1}));
  EXPECT_EQ(buckets[0].elements, 18);
  EXPECT_EQ(buckets[1].members, (std::vector<size_t>{2, 0}));
}

TEST(Buckets, NoMatrixIsCut) {
  const std::vector<GradientShape> gradients{matrices(1, 10, 10), matrices(5, 4, 4), matrices(1, 30, 30)};
  const BucketPlan all = gradient_buckets(gradients, 4, 1 << 20).front();
  EXPECT_EQ(cut_of(all, gradients, 1), (std::vector<int64_t>{60}));
  // 30 | 4 4 4 4 4 10: middles at 15, 32, 36, ... of 60.
  EXPECT_EQ(cut_of(all, gradients, 2), (std::vector<int64_t>{30, 30}));
  EXPECT_EQ(cut_of(all, gradients, 3), (std::vector<int64_t>{30, 8, 22}));
  for (int64_t ranks = 1; ranks <= 9; ++ranks) {
    const std::vector<int64_t> cut = cut_of(all, gradients, ranks);
    EXPECT_EQ(std::accumulate(cut.begin(), cut.end(), int64_t{0}), 60);
    std::vector<int64_t> borders{0, 30, 34, 38, 42, 46, 50, 60};
    int64_t border = 0;
    for (const int64_t part : cut) {
      border += part;
      EXPECT_TRUE(std::ranges::find(borders, border) != borders.end()) << ranks << " ranks: " << border;
    }
  }
}

/// Rows of a matrix fall unevenly on the ranks of a tensor group; all of them must give it to the same rank of ZeRO.
TEST(Buckets, RanksWithOtherPartsOfTheMatricesCutAlike) {
  const auto of_part = [](int64_t rows) {  // of matrices of 7 x 5 and, whole everywhere, 4 x 5
    return std::vector<GradientShape>{matrices(1, rows * 5, 35), matrices(1, 20, 20), matrices(2, rows * 5, 35)};
  };
  for (const int64_t bytes : {1, 200, 1 << 20}) {
    const auto small = of_part(2), large = of_part(3);
    const auto few = gradient_buckets(small, 4, bytes), many = gradient_buckets(large, 4, bytes);
    ASSERT_EQ(few.size(), many.size());
    for (size_t b = 0; b < few.size(); ++b) {
      EXPECT_EQ(few[b].members, many[b].members);
      for (int64_t ranks = 1; ranks <= 4; ++ranks) {
        const auto owners = [&](const BucketPlan& bucket, const std::vector<GradientShape>& shapes) {
          std::vector<int64_t> units;  // of each rank
          const std::vector<int64_t> cut = cut_of(bucket, shapes, ranks);
          size_t member = 0;
          int64_t left = shapes[bucket.members[0]].elements;
          for (int64_t part : cut) {
            units.push_back(0);
            while (part > 0) {
              if (left == 0) left = shapes[bucket.members[++member]].elements;
              const int64_t unit = shapes[bucket.members[member]].unit.elements;
              part -= unit, left -= unit, ++units.back();
            }
          }
          return units;
        };
        EXPECT_EQ(owners(few[b], small), owners(many[b], large)) << ranks << " ranks, bucket " << b;
      }
    }
  }
}

TEST(Buckets, WhatMayBeCutAnywhereIsCutEvenly) {
  const std::vector<GradientShape> gradients{{.elements = 7}, {.elements = 4}};
  const BucketPlan all = gradient_buckets(gradients, 4, 1 << 20).front();
  EXPECT_EQ(cut_of(all, gradients, 3), (std::vector<int64_t>{3, 4, 4}));
}

}  // namespace
}  // namespace parallel
