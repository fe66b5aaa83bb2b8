#include "parallel/dispatch/permutation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace parallel {
namespace {

/// T x K distinct experts a token, of which about a share `dropped` is kDropped.
at::Tensor random_choices(int64_t tokens, int64_t top_k, int64_t experts, double dropped) {
  const RandomStream order(3, "order"), drop(3, "drop");
  at::Tensor choices = at::empty({tokens, top_k}, at::kLong);
  for (int64_t t = 0; t < tokens; ++t) {
    const RandomStream row(3, "row", 0, t);
    for (int64_t j = 0; j < top_k; ++j) {
      const bool drops = drop.uniform(t * top_k + j) < dropped;
      choices[t][j] = drops ? Assignment::kDropped : permuted_index(row, j, experts);
    }
  }
  return choices;
}

/// The rows by sorting (expert, token, choice) triples, and what follows from them.
void expect_naive(const at::Tensor& expert_TK, int64_t experts) {
  const Permutation permutation = sort_by_expert(expert_TK, experts);
  const int64_t top_k = expert_TK.size(1);
  std::vector<std::tuple<int64_t, int64_t, int64_t>> rows;
  std::vector<int64_t> counts(static_cast<size_t>(experts), 0);
  for (int64_t t = 0; t < expert_TK.size(0); ++t) {
    for (int64_t j = 0; j < top_k; ++j) {
      const int64_t expert = expert_TK[t][j].item<int64_t>();
      if (expert == Assignment::kDropped) continue;
      rows.emplace_back(expert, t, j);
      ++counts[static_cast<size_t>(expert)];
    }
  }
  std::sort(rows.begin(), rows.end());
  at::Tensor row_TK = at::full(expert_TK.sizes(), static_cast<int64_t>(rows.size()), at::kLong);
  ASSERT_EQ(permutation.rows(), static_cast<int64_t>(rows.size()));
  EXPECT_EQ(permutation.rows_per_expert.on_host(), counts);
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto [expert, t, j] = rows[r];
    EXPECT_EQ(permutation.token_R[static_cast<int64_t>(r)].item<int64_t>(), t) << "row " << r;
    EXPECT_EQ(permutation.slot_R[static_cast<int64_t>(r)].item<int64_t>(), t * top_k + j) << "row " << r;
    row_TK[t][j] = static_cast<int64_t>(r);
  }
  EXPECT_TRUE(permutation.row_TK.equal(row_TK));
}

TEST(SortByExpert, EqualsTheNaiveSort) {
  for (const int64_t top_k : {1, 2, 3}) {
    for (const double dropped : {0.0, 0.3, 1.0}) {
      SCOPED_TRACE(concat("top_k ", top_k, ", dropped ", dropped));
      expect_naive(random_choices(23, top_k, 5, dropped), 5);
    }
  }
}

TEST(SortByExpert, ExpertsWithoutRowsHaveACountOfZero) {
  const at::Tensor choices = at::tensor({5, 2, 2, 5, 5, 2}, at::kLong).view({3, 2});
  expect_naive(choices, 8);
  EXPECT_EQ(sort_by_expert(choices, 8).rows_per_expert.on_host(), (std::vector<int64_t>{0, 0, 3, 0, 0, 3, 0, 0}));
}

TEST(SortByExpert, NoTokensAtAll) {
  expect_naive(at::empty({0, 2}, at::kLong), 4);
  const Permutation permutation = sort_by_expert(at::empty({0, 2}, at::kLong), 4);
  EXPECT_EQ(combine_rows(at::empty({0, 3}, at::kDouble), {}, permutation).sizes(), (at::IntArrayRef{0, 3}));
  EXPECT_EQ(gather_rows(at::empty({0, 3}, at::kDouble), permutation).sizes(), (at::IntArrayRef{0, 3}));
}

TEST(SortByExpert, OneExpertKeepsTheOrderOfTokens) {
  const Permutation permutation = sort_by_expert(at::zeros({6, 1}, at::kLong), 1);
  EXPECT_TRUE(permutation.token_R.equal(at::arange(6, at::kLong)));
}

TEST(SortByExpert, ChoicesThatAreNotContiguous) {
  const at::Tensor wide = random_choices(11, 3, 5, 0.2);
  expect_naive(wide.slice(1, 0, 2), 5);
  expect_naive(wide.t().contiguous().t(), 5);
}

TEST(SortByExpert, ExpertOutsideItsRangeIsTheLibrarysFault) {
  EXPECT_THROW(sort_by_expert(at::full({2, 1}, 4, at::kLong), 4), InternalError);
  EXPECT_THROW(sort_by_expert(at::full({2, 1}, -2, at::kLong), 4), InternalError);
  EXPECT_THROW(sort_by_expert(at::zeros({2}, at::kLong), 4), InternalError);
  EXPECT_THROW(sort_by_expert(at::zeros({2, 1}, at::kInt), 4), InternalError);
}

TEST(CombineRows, SumsTheKeptCopiesOfEachToken) {
  for (const int64_t top_k : {1, 2, 3}) {
    const at::Tensor choices = random_choices(23, top_k, 5, 0.3);
    const Permutation permutation = sort_by_expert(choices, 5);
    const at::Tensor tokens = at::arange(23 * 4, at::kDouble).view({23, 4});
    const at::Tensor rows = gather_rows(tokens, permutation);
    EXPECT_TRUE(rows.equal(tokens.index_select(0, permutation.token_R)));
    const at::Tensor kept_T = (choices != Assignment::kDropped).sum(1, true).to(at::kDouble);
    EXPECT_TRUE(combine_rows(rows, {}, permutation).equal(tokens * kept_T));
  }
}

TEST(CombineRows, WeighsEachChoiceByItsOwnWeight) {
  const at::Tensor choices = at::tensor({1, 0, 0, -1, -1, -1, 1, 0}, at::kLong).view({4, 2});
  const at::Tensor weights = at::tensor({0.5, 0.25, 2.0, 7.0, 3.0, 9.0, -1.0, 4.0}, at::kDouble).view({4, 2});
  const Permutation permutation = sort_by_expert(choices, 2);
  // Rows: expert 0 has (0, 1), (1, 0), (3, 1); expert 1 has (0, 0), (3, 0).
  const at::Tensor rows = at::tensor({1.0, 10.0, 100.0, 1000.0, 10000.0}, at::kDouble).view({5, 1});
  const at::Tensor expected = at::tensor({500.25, 20.0, 0.0, -9600.0}, at::kDouble).view({4, 1});
  EXPECT_TRUE(combine_rows(rows, weights, permutation).equal(expected));
}

TEST(CombineRows, AllChoicesDroppedGiveZeros) {
  const Permutation permutation = sort_by_expert(at::full({3, 2}, Assignment::kDropped, at::kLong), 4);
  EXPECT_EQ(permutation.rows(), 0);
  const at::Tensor out = combine_rows(at::empty({0, 5}, at::kDouble), at::ones({3, 2}, at::kDouble), permutation);
  EXPECT_TRUE(out.equal(at::zeros({3, 5}, at::kDouble)));
}

// What stands in the last row or in the weight of a dropped choice must not leak, not even as NaN.
TEST(CombineRows, DroppedChoiceIsDeafToNaN) {
  const Permutation permutation = sort_by_expert(at::tensor({0, -1}, at::kLong).view({2, 1}), 1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor out =
      combine_rows(at::full({1, 2}, nan, at::kDouble), at::full({2, 1}, nan, at::kDouble), permutation);
  EXPECT_TRUE(out[1].equal(at::zeros({2}, at::kDouble)));
  EXPECT_TRUE(out[0].isnan().all().item<bool>());
}

TEST(CombineRows, SumsInTheOrderOfTheChoices) {
  // (1e16 - 1e16) + 1 is 1 in float64; in the order of the rows, (1 + 1e16) - 1e16, it is 0.
  const Permutation permutation = sort_by_expert(at::tensor({1, 2, 0}, at::kLong).view({1, 3}), 3);
  const at::Tensor rows = at::tensor({1.0, 1e16, -1e16}, at::kDouble).view({3, 1});
  EXPECT_EQ(combine_rows(rows, {}, permutation).item<double>(), 1.0);
}

}  // namespace
}  // namespace parallel
