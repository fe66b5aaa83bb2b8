#include "moetrain/ranking/ranking.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "parallel/base/random.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor row(std::vector<double> values, at::ScalarType type = at::kDouble) {
  return at::tensor(values, at::kDouble).to(type).unsqueeze(0);
}

std::vector<int64_t> chosen(const Graded& graded, int64_t k) {
  const at::Tensor chosen_1K = largest_k(graded, k);
  EXPECT_TRUE(chosen_1K.equal(largest_k_by_sorting(graded, k)));  // as other devices do it
  return {chosen_1K.const_data_ptr<int64_t>(), chosen_1K.const_data_ptr<int64_t>() + k};
}

using Order = std::vector<int64_t>;

TEST(LargestK, LargestFirst) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    EXPECT_EQ(chosen(by_ratio(row({0.1, 0.4, 0.2, 0.3}, type)), 3), (Order{1, 3, 2}));
    EXPECT_EQ(chosen(by_difference(row({-3, -1, -2}, type), type), 1), (Order{1}));
  }
}

TEST(LargestK, EqualOnesByIndex) {
  EXPECT_EQ(chosen(by_ratio(row({0.25, 0.25, 0.25, 0.25})), 4), (Order{0, 1, 2, 3}));
  EXPECT_EQ(chosen(by_ratio(row({0.1, 0.4, 0.1, 0.4})), 3), (Order{1, 3, 0}));
  EXPECT_EQ(chosen(by_ratio(row({0.0, -0.0, 0.0})), 2), (Order{0, 1}));
}

// The quick way and the whole one: with neighbours at, within and beyond the bound, in chains, of large magnitude, and
// of what is no number.
TEST(LargestByDifference, IsTheFirstOfTheOrder) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const double bound = tie_bound(type);
    std::vector<at::Tensor> rows{at::full({5}, 2.5), at::full({1}, -3), at::tensor({0.0, -kInfinity, kInfinity}),
                                 at::tensor({1.0, std::nan(""), 0.5})};
    for (const double magnitude : {0.0, 1.0, 400.0, -400.0}) {
      for (const double apart : {0.5, 0.9, 1.1, 1.5, 3.0, 5.0}) {
        const double step = apart * bound * std::max(1.0, std::abs(magnitude));
        rows.push_back(at::tensor({magnitude - 9, magnitude - step, magnitude, magnitude - 2 * step, magnitude - 7}));
        rows.push_back(at::tensor({magnitude, magnitude - step}));
      }
      rows.push_back(magnitude + random_tensor("logits", {3000}));
    }
    for (const at::Tensor& each : rows) {
      const at::Tensor value_V = each.to(type);
      const at::Tensor wide_1V = value_V.to(at::kDouble).unsqueeze(0);
      EXPECT_EQ(largest_by_difference(value_V, type), largest_k(by_difference(wide_1V, type), 1).item<int64_t>())
          << value_V;
    }
  }
}

TEST(LargestK, WhatRoundOffPartsIsEqual) {
  const double tiny = 1e-13;
  EXPECT_EQ(chosen(by_ratio(row({0.3, 0.3 * (1 + tiny), 0.1})), 1), (Order{0}));
  EXPECT_EQ(chosen(by_ratio(row({0.1, 0.3, 0.3 * (1 + tiny), 0.3 * (1 + 2 * tiny)})), 3), (Order{1, 2, 3}));
  EXPECT_EQ(chosen(by_ratio(row({1e-9, 1e-9 * (1 + tiny), 0.9})), 2), (Order{2, 0}));  // shares of themselves
  EXPECT_EQ(chosen(by_ratio(row({1e-10, 3e-10, 0.9})), 2), (Order{2, 1}));
  EXPECT_EQ(chosen(by_difference(row({-20, -20 + 100 * tiny}), at::kDouble), 1), (Order{0}));
  EXPECT_EQ(chosen(by_difference(row({1.0, 1.0 + 1e-6}), at::kFloat), 1), (Order{0}));  // from float32 on the way
  // What weights part is not.
  EXPECT_EQ(chosen(by_ratio(row({0.3, 0.3 * (1 + 1e-8)})), 1), (Order{1}));
  EXPECT_EQ(chosen(by_difference(row({1.0, 1.0 + 1e-5}), at::kFloat), 1), (Order{1}));
}

TEST(LargestK, OfChainsNeighboursAreJoined) {
  const double step = 0.9 * tie_bound(at::kDouble);  // the ends are further apart than the bound
  EXPECT_EQ(chosen(by_difference(row({1, 1 - step, 1 + step, 1 - 2 * step}), at::kDouble), 4), (Order{0, 1, 2, 3}));
}

TEST(LargestK, InfinitiesAndWhatIsNoNumberComeLast) {
  EXPECT_EQ(chosen({row({-kInfinity, 0.2, -kInfinity, 0.4}), row({1, 1, 1, 1}), 0x1p-30}, 4), (Order{3, 1, 0, 2}));
  EXPECT_EQ(chosen(by_difference(row({-kInfinity, 0.2, 0.4}), at::kDouble), 2), (Order{2, 1}));
  EXPECT_EQ(chosen(by_difference(row({std::nan(""), 0.2, 0.4}), at::kDouble), 3), (Order{2, 1, 0}));
}

TEST(LargestK, EqualsAStableSort) {
  // Few distinct values, so that most rows have ties.
  const at::Tensor scores = (random_tensor("scores", {200, 90}) * 6).round();
  const at::Tensor sorted = std::get<1>(at::sort(scores, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  const Graded graded = by_difference(scores, at::kDouble);
  const Graded turned = by_difference(scores.t().contiguous().t(), at::kDouble);
  for (const int64_t k : {1, 2, 5, 64, 65, 90}) {
    EXPECT_TRUE(largest_k(graded, k).equal(sorted.narrow(1, 0, k))) << k;
    EXPECT_TRUE(largest_k_by_sorting(graded, k).equal(sorted.narrow(1, 0, k))) << k;
    EXPECT_TRUE(largest_k(turned, k).equal(sorted.narrow(1, 0, k))) << k;
  }
}

TEST(LargestK, NoTokens) {
  const Graded none = by_ratio(at::empty({0, 5}, at::kFloat));
  EXPECT_EQ(largest_k(none, 2).sizes(), (at::IntArrayRef{0, 2}));
  EXPECT_EQ(largest_k_by_sorting(none, 2).sizes(), (at::IntArrayRef{0, 2}));
}

/// 40 values, each `copies` times, with errors of 1e-13 of themselves that differ from `draw` to `draw`; in any order.
std::vector<Claim> tied_claims(int64_t copies, int64_t draw) {
  std::vector<Claim> claims;
  const parallel::RandomStream values(3, "values"), errors(3, "errors", draw);
  for (int64_t i = 0; i < 40 * copies; ++i) {
    const double value = values.uniform(i % 40) * (1 + 1e-13 * (2 * errors.uniform(i) - 1));
    claims.push_back({value, value, parallel::permuted_index(values, i, 40 * copies)});
  }
  return claims;
}

std::set<int64_t> first_of(const std::vector<Claim>& claims, int64_t count) {
  std::set<int64_t> orders;
  for (int64_t i = 0; i < count; ++i) orders.insert(claims[static_cast<size_t>(i)].order);
  return orders;
}

TEST(Rank, RoundOffHasNoSay) {
  int64_t by_bits_alone = 0;
  for (int64_t count = 1; count < 40 * 7; count += 3) {
    std::vector<Claim> once = tied_claims(7, 0), again = tied_claims(7, 1), sorted = once;
    rank(sorted, tie_bound(at::kDouble));
    rank_around(once, count, tie_bound(at::kDouble));
    rank_around(again, count, tie_bound(at::kDouble));
    EXPECT_EQ(first_of(once, count), first_of(again, count)) << count;
    EXPECT_EQ(first_of(once, count), first_of(sorted, count)) << count;
    rank_around(once, count, 0);
    rank_around(again, count, 0);
    by_bits_alone += first_of(once, count) == first_of(again, count);
  }
  EXPECT_LT(by_bits_alone, 40);  // of 93: those where a class ends at the cut
}

TEST(Rank, OfACrowdWithoutGapsTheLargestComeFirst) {
  const double bound = tie_bound(at::kFloat);
  constexpr int64_t kMany = 20000, kKept = 7000;
  std::vector<Claim> claims;
  const parallel::RandomStream draws(3, "crowd");
  for (int64_t i = 0; i < kMany; ++i) claims.push_back({1 + 0.1 * bound * draws.uniform(i) * kMany, 1, kMany - i});
  std::vector<double> values;
  for (const Claim& each : claims) values.push_back(each.value);
  std::ranges::sort(values, std::greater());
  rank_around(claims, kKept, bound);
  double kept = kInfinity, left = 0;
  for (int64_t i = 0; i < kMany; ++i) {
    const double value = claims[static_cast<size_t>(i)].value;
    if (i < kKept) kept = std::min(kept, value);
    if (i >= kKept) left = std::max(left, value);
  }
  EXPECT_NEAR(kept, values[kKept - 1], 17 * bound);
  EXPECT_NEAR(left, values[kKept], 17 * bound);
}

TEST(Rank, OfNothingAndOfAll) {
  std::vector<Claim> claims = tied_claims(2, 0);
  for (const int64_t count : {0, 80, 90}) rank_around(claims, count, 1);
  rank_around({}, 0, 1);
  rank({}, 1);
  EXPECT_EQ(first_of(claims, 80).size(), 80u);
}

}  // namespace
}  // namespace moetrain
