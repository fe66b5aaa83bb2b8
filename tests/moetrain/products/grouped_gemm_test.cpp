#include "moetrain/products/grouped_gemm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

class GroupedGemmTest : public testing::TestWithParam<std::vector<int64_t>> {
 protected:
  const std::vector<int64_t> counts_ = GetParam();
  const int64_t experts_ = static_cast<int64_t>(counts_.size());
  const int64_t rows_ = std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
  const at::Tensor weight_EMN_ = random_tensor("weight", {experts_, 3, 5});
  const at::Tensor rows_RM_ = random_tensor("rows", {rows_, 3}), rows_RN_ = random_tensor("grad", {rows_, 5});

  int64_t expert_of(int64_t row) const {
    size_t expert = 0;
    for (int64_t end = counts_[0]; row >= end; end += counts_[++expert]) {
    }
    return static_cast<int64_t>(expert);
  }
};

TEST_P(GroupedGemmTest, EqualsOneProductForEachRow) {
  const at::Tensor out = grouped_mm(rows_RM_, weight_EMN_, counts_);
  const at::Tensor back = grouped_mm_transposed(rows_RN_, weight_EMN_, counts_);
  ASSERT_EQ(out.sizes(), (at::IntArrayRef{rows_, 5}));
  ASSERT_EQ(back.sizes(), (at::IntArrayRef{rows_, 3}));
  for (int64_t r = 0; r < rows_; ++r) {
    const at::Tensor weight = weight_EMN_[expert_of(r)];
    EXPECT_TRUE(at::allclose(out[r], at::mv(weight.t(), rows_RM_[r]), 1e-13, 1e-13)) << r;
    EXPECT_TRUE(at::allclose(back[r], at::mv(weight, rows_RN_[r]), 1e-13, 1e-13)) << r;
  }
}

TEST_P(GroupedGemmTest, WeightGradientSumsTheRowsOfEachExpert) {
  at::Tensor expected = at::zeros_like(weight_EMN_);
  for (int64_t r = 0; r < rows_; ++r) expected[expert_of(r)] += at::outer(rows_RM_[r], rows_RN_[r]);
  const at::Tensor gradient = at::full_like(expected, 7.0);  // every element is to be written
  grouped_weight_gradient_out(gradient, rows_RM_, rows_RN_, counts_);
  EXPECT_TRUE(at::allclose(gradient, expected, 1e-13, 1e-13));
}

INSTANTIATE_TEST_SUITE_P(Counts, GroupedGemmTest,
                         testing::Values(std::vector<int64_t>{4, 1, 7}, std::vector<int64_t>{0, 6, 0, 0, 2, 0},
                                         std::vector<int64_t>{0, 0, 0}, std::vector<int64_t>{9}));

}  // namespace
}  // namespace moetrain
