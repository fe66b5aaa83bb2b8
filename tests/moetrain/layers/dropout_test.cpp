#include "moetrain/layers/dropout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

const parallel::RandomStream kDropoutStream(5, "dropout, test", 2, 9);

at::Tensor dropped_ones(int64_t rows, int64_t width, double p, int64_t first_row = 0) {
  return dropout(at::ones({rows, width}, at::kDouble), p, kDropoutStream, first_row);
}

TEST(Dropout, AMaskIsAFunctionOfTheGlobalIndex) {
  for (const int64_t width : {1, 5, 24}) {  // rows begin anywhere in a block of draws
    const at::Tensor whole = dropped_ones(37, width, 0.3, 1000);
    for (const int64_t cut : {0, 1, 8, 20, 37}) {
      const at::Tensor parts =
          at::cat({dropped_ones(cut, width, 0.3, 1000), dropped_ones(37 - cut, width, 0.3, 1000 + cut)});
      EXPECT_TRUE(parts.equal(whole)) << width << ", " << cut;
    }
    EXPECT_FALSE(dropped_ones(37, width, 0.3, 1001).equal(whole));
  }
}

TEST(Dropout, DrawsAreThoseOfTheStream) {
  const at::Tensor ones = dropped_ones(50, 100, 0.25, 3);  // past one chunk of draws
  std::vector<uint16_t> draws(5000);
  kDropoutStream.words16(300, draws);
  for (int64_t i = 0; i < 5000; ++i) {
    ASSERT_EQ(ones.const_data_ptr<double>()[i], draws[static_cast<size_t>(i)] < 16384 ? 0.0 : 1 / 0.75) << i;
  }
}

TEST(Dropout, RateAndMean) {
  constexpr int64_t kRows = 2000, kWidth = 100;
  constexpr double kCount = kRows * kWidth;
  for (const double p : {0.01, 0.1, 0.3, 0.5, 0.9}) {
    const at::Tensor ones = dropped_ones(kRows, kWidth, p);
    const double rate = (ones == 0).sum().item<double>() / kCount;
    EXPECT_NEAR(rate, p, 4 * std::sqrt(p * (1 - p) / kCount) + 1.0 / 65536) << p;
    EXPECT_NEAR(ones.mean().item<double>(), 1.0, 4 * std::sqrt(p / (1 - p) / kCount)) << p;
    EXPECT_NEAR(ones.max().item<double>(), 1 / (1 - p), 1e-4 / (1 - p)) << p;
    // Neighbours in a row and in a column are independent.
    const at::Tensor gone = (ones == 0).to(at::kDouble) - rate;
    for (const int64_t dim : {0, 1}) {
      const int64_t size = gone.size(dim) - 1;
      const double together = (gone.narrow(dim, 0, size) * gone.narrow(dim, 1, size)).mean().item<double>();
      EXPECT_NEAR(together, 0, 4 * p * (1 - p) / std::sqrt(kCount)) << p;
    }
  }
}

TEST(Dropout, NothingIsDroppedAtZeroAndSomethingIsKeptNearOne) {
  const at::Tensor x = random_tensor("x", {3, 4});
  EXPECT_TRUE(dropout(x, 0.0, kDropoutStream, 7).is_same(x));
  EXPECT_EQ(dropout(at::empty({0, 4}, at::kDouble), 0.5, kDropoutStream, 7).size(0), 0);
  EXPECT_TRUE(dropped_ones(10, 10, 0.9999999).isfinite().all().item<bool>());
}

TEST(Dropout, GradientEqualsFiniteDifferences) {
  const at::Tensor x = random_tensor("x", {4, 5}).requires_grad_(true), probe = random_tensor("probe", {4, 5});
  expect_gradients([&] { return (dropout(x, 0.4, kDropoutStream, 2) * probe).sum(); }, {x});
}

// 1 / 0.9 in bfloat16 is 0.16 % too large; the mean over many x must not be.
TEST(Dropout, LowPrecisionKeepsTheMean) {
  const at::Tensor x = random_tensor("x", {4000, 64}).abs() + 0.5;
  const at::Tensor low = dropout(x.to(at::kBFloat16), 0.1, kDropoutStream, 0).to(at::kDouble);
  const at::Tensor exact = dropout(x.to(at::kBFloat16).to(at::kDouble), 0.1, kDropoutStream, 0);
  EXPECT_TRUE((low == 0).equal(exact == 0));
  EXPECT_NEAR((low.sum() / exact.sum()).item<double>(), 1.0, 1e-4);
}

}  // namespace
}  // namespace moetrain
