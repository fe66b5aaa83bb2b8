// Products of a few rows against the same sums in long double, for shapes that fill no vector and no block. The
// registered entries repeat them for each set of instructions.
#include "parallel/kernels/few_rows.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <vector>

#include "parallel/kernels/peak.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

template <class Scalar>
class FewRows : public testing::Test {};
using FewRowsTypes = testing::Types<float, double>;
TYPED_TEST_SUITE(FewRows, FewRowsTypes);

/// Of a sum of `terms` products of normal numbers.
template <class Scalar>
double bound_of(int64_t terms) {
  return 8 * std::numeric_limits<Scalar>::epsilon() * std::sqrt(static_cast<double>(terms) + 1) * 4;
}

constexpr int64_t kSizes[] = {1, 3, 7, 8, 17, 48, 67, 130};

TYPED_TEST(FewRows, LinearEqualsItsSums) {
  for (const int64_t in : kSizes) {
    for (const int64_t out : kSizes) {
      const auto weight = numbers<TypeParam>("weight", out * in), bias = numbers<TypeParam>("bias", out);
      for (int64_t rows = 1; rows <= 11; ++rows) {
        const auto x = numbers<TypeParam>("x", rows * in);
        std::vector<TypeParam> y(static_cast<size_t>(rows * out) + 1, TypeParam(7));
        const bool biased = (in + rows) % 2 == 0;
        few_rows_linear<TypeParam>({.x_RM = x.data(),
                                    .weight_NM = weight.data(),
                                    .bias_N = biased ? bias.data() : nullptr,
                                    .rows = rows,
                                    .in = in,
                                    .out = out},
                                   y.data());
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t n = 0; n < out; ++n) {
            long double sum = biased ? bias[static_cast<size_t>(n)] : 0;
            for (int64_t m = 0; m < in; ++m) {
              sum += static_cast<long double>(x[static_cast<size_t>(r * in + m)]) *
                     weight[static_cast<size_t>(n * in + m)];
            }
            ASSERT_NEAR(y[static_cast<size_t>(r * out + n)], static_cast<double>(sum), bound_of<TypeParam>(in))
                << rows << " rows, " << in << " to " << out;
          }
        }
        EXPECT_EQ(y.back(), TypeParam(7));
      }
    }
  }
}

/// Experts without rows, of one and of many.
TYPED_TEST(FewRows, ExpertsEqualTheirSums) {
  const std::vector<std::vector<int64_t>> all_counts = {{3, 0, 1}, {0, 8, 0, 5}, {1}, {0, 0, 11}, {2, 2, 2, 2, 1}};
  for (const int64_t in : kSizes) {
    for (const int64_t out : {int64_t{1}, int64_t{33}, int64_t{130}, int64_t{2100}}) {
      for (const std::vector<int64_t>& counts : all_counts) {
        std::vector<ExpertRows> experts;
        int64_t rows = 0;
        for (size_t e = 0; e < counts.size(); ++e) {
          if (counts[e] > 0) experts.push_back({static_cast<int64_t>(e), rows, counts[e]});
          rows += counts[e];
        }
        const auto weight = numbers<TypeParam>("weight", std::ssize(counts) * in * out),
                   x = numbers<TypeParam>("x", rows * in);
        std::vector<TypeParam> y(static_cast<size_t>(rows * out) + 1, TypeParam(7));
        few_rows_experts<TypeParam>(
            {.x_RM = x.data(), .weight_EMN = weight.data(), .experts = experts, .in = in, .out = out}, y.data());
        for (const auto& [expert, begin, count] : experts) {
          for (int64_t r = begin; r < begin + count; ++r) {
            for (int64_t n = 0; n<out; n += out> 500 ? 41 : 1) {
              long double sum = 0;
              for (int64_t m = 0; m < in; ++m) {
                sum += static_cast<long double>(x[static_cast<size_t>(r * in + m)]) *
                       weight[static_cast<size_t>((expert * in + m) * out + n)];
              }
              ASSERT_NEAR(y[static_cast<size_t>(r * out + n)], static_cast<double>(sum), bound_of<TypeParam>(in))
                  << "row " << r << ", " << in << " to " << out;
            }
          }
        }
        EXPECT_EQ(y.back(), TypeParam(7));
      }
    }
  }
}

// Which rows are beside a row, and how many threads there are, its bits do not tell.
TYPED_TEST(FewRows, RowsAreAloneAndThreadsHaveNoSay) {
  const int64_t in = 413, out = 700, rows = 7;
  const auto weight = numbers<TypeParam>("weight", in * out), x = numbers<TypeParam>("x", rows * in);
  const std::vector<ExpertRows> all{{0, 0, rows}}, one{{0, 0, 1}};
  const auto linear = [&](const TypeParam* from, int64_t count) {
    std::vector<TypeParam> y(static_cast<size_t>(count * out));
    few_rows_linear<TypeParam>({.x_RM = from, .weight_NM = weight.data(), .rows = count, .in = in, .out = out},
                               y.data());
    return y;
  };
  const auto experts = [&](const TypeParam* from, int64_t count) {
    std::vector<TypeParam> y(static_cast<size_t>(count * out));
    few_rows_experts<TypeParam>(
        {.x_RM = from, .weight_EMN = weight.data(), .experts = count == 1 ? one : all, .in = in, .out = out}, y.data());
    return y;
  };
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto by_linear = linear(x.data(), rows), by_experts = experts(x.data(), rows);
  omp_set_num_threads(3);
  EXPECT_EQ(linear(x.data(), rows), by_linear);
  EXPECT_EQ(experts(x.data(), rows), by_experts);
  omp_set_num_threads(before);
  for (int64_t r = 0; r < rows; ++r) {
    const auto linear_alone = linear(x.data() + r * in, 1), expert_alone = experts(x.data() + r * in, 1);
    EXPECT_TRUE(std::equal(linear_alone.begin(), linear_alone.end(), by_linear.begin() + r * out)) << r;
    EXPECT_TRUE(std::equal(expert_alone.begin(), expert_alone.end(), by_experts.begin() + r * out)) << r;
  }
}

TYPED_TEST(FewRows, PeakAndWhatIsNearIt) {
  for (const int64_t count : {1, 5, 64, 1000, 1001}) {
    std::vector<TypeParam> x = numbers<TypeParam>("x", count);
    x[static_cast<size_t>(count / 2)] = TypeParam(9);
    Peak<TypeParam> peak = peak_of(x.data(), count);
    EXPECT_EQ(peak.largest, TypeParam(9));
    EXPECT_TRUE(peak.finite);
    EXPECT_EQ(count_from(x.data(), count, TypeParam(9)), 1);
    EXPECT_EQ(count_from(x.data(), count, TypeParam(-100)), count);
    for (const TypeParam bad : {std::numeric_limits<TypeParam>::infinity(), -std::numeric_limits<TypeParam>::infinity(),
                                std::numeric_limits<TypeParam>::quiet_NaN()}) {
      std::vector<TypeParam> broken = x;
      broken.back() = bad;
      EXPECT_FALSE(peak_of(broken.data(), count).finite) << bad;
    }
  }
}

}  // namespace
}  // namespace parallel
