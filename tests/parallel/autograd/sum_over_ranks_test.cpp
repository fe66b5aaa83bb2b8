#include "parallel/autograd/sum_over_ranks.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/world.h"

namespace parallel {
namespace {

TEST(SumOverRanks, ValueAndGradientAreSums) {
  const auto world = test_world();
  const auto rank = static_cast<double>(world->rank()), ranks = static_cast<double>(world->size());
  const at::Tensor local = at::full({3}, rank + 1, at::kDouble).requires_grad_(true);
  const at::Tensor sum = sum_over_ranks(local, *world);
  EXPECT_TRUE(sum.equal(at::full({3}, ranks * (ranks + 1) / 2, at::kDouble)));
  // Rank r's share is (r + 1) * sum: the gradient is the sum of the factors, on every rank.
  torch::autograd::backward({(sum * (rank + 1)).sum()}, {});
  EXPECT_TRUE(local.grad().equal(at::full({3}, ranks * (ranks + 1) / 2, at::kDouble)));
}

TEST(SumOverRanks, WithoutGradientItIsAnAllReduce) {
  const at::Tensor local = at::ones({2}, at::kFloat);
  const at::Tensor sum = sum_over_ranks(local, *test_world());
  EXPECT_FALSE(sum.requires_grad());
  EXPECT_TRUE(sum.equal(at::full({2}, static_cast<float>(test_world()->size()))));
  EXPECT_TRUE(local.equal(at::ones({2}, at::kFloat)));
}

}  // namespace
}  // namespace parallel
