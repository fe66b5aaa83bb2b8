#include "moetrain/routers/selections/select_top_k.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

at::Tensor row(std::vector<double> scores, at::ScalarType type = at::kDouble) {
  return at::tensor(scores, at::kDouble).to(type).unsqueeze(0);
}

at::Tensor choices(std::vector<int64_t> experts) { return at::tensor(experts, at::kLong).unsqueeze(0); }

TEST(SelectTopK, LargestFirst) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    EXPECT_TRUE(select_top_k(row({0.1, 0.4, 0.2, 0.3}, type), 3).equal(choices({1, 3, 2})));
    EXPECT_TRUE(select_top_k(row({-3, -1, -2}, type), 1).equal(choices({1})));
  }
}

TEST(SelectTopK, TiesGoToTheSmallerIndex) {
  EXPECT_TRUE(select_top_k(row({0.25, 0.25, 0.25, 0.25}), 4).equal(choices({0, 1, 2, 3})));
  EXPECT_TRUE(select_top_k(row({0.1, 0.4, 0.1, 0.4}), 3).equal(choices({1, 3, 0})));
  EXPECT_TRUE(select_top_k(row({0.3, 0.1, 0.3, 0.3}), 2).equal(choices({0, 2})));
  EXPECT_TRUE(select_top_k(row({0.0, -0.0, 0.0}), 2).equal(choices({0, 1})));
}

TEST(SelectTopK, EqualsAStableSort) {
  // Few distinct values, so that most rows have ties.
  const at::Tensor scores = (random_tensor("scores", {200, 9}) * 2).round();
  const at::Tensor sorted = std::get<1>(at::sort(scores, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  for (const int64_t top_k : {1, 2, 5, 9}) EXPECT_TRUE(select_top_k(scores, top_k).equal(sorted.narrow(1, 0, top_k)));
  EXPECT_TRUE(select_top_k(scores.t().contiguous().t(), 4).equal(sorted.narrow(1, 0, 4)));
}

TEST(SelectTopK, NoTokens) {
  EXPECT_EQ(select_top_k(at::empty({0, 5}, at::kFloat), 2).sizes(), (at::IntArrayRef{0, 2}));
}

}  // namespace
}  // namespace moetrain
