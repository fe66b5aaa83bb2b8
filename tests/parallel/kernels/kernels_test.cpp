#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "parallel/kernels/activations.h"
#include "parallel/kernels/curves.h"
#include "parallel/kernels/rms_norm.h"
#include "parallel/kernels/softmax.h"
#include "parallel/kernels/token_rows.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

template <class Scalar>
class Kernels : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Kernels, Types);

/// In units of what the type can tell apart next to `wanted`.
template <class Scalar>
double units_off(Scalar got, long double wanted) {
  const long double unit = std::numeric_limits<Scalar>::epsilon() * std::max<long double>(std::abs(wanted), 1e-30L);
  return static_cast<double>(std::abs(static_cast<long double>(got) - wanted) / unit);
}

TYPED_TEST(Kernels, ExponentialIsExactToAUnitOrTwo) {
  double worst = 0;
  for (int i = -86000; i <= 86000; i += 7) {
    const auto x = static_cast<TypeParam>(i / 1000.0);
    worst = std::max(worst, units_off(exp_of(x), std::exp(static_cast<long double>(x))));
  }
  EXPECT_LT(worst, 2);
  EXPECT_EQ(exp_of(TypeParam(0)), TypeParam(1));
}

TYPED_TEST(Kernels, ExponentialOfWhatIsFarOffOrNoNumber) {
  const auto infinity = std::numeric_limits<TypeParam>::infinity();
  EXPECT_LT(exp_of(-infinity), TypeParam(1e-37));
  EXPECT_GE(exp_of(-infinity), TypeParam(0));
  EXPECT_GT(exp_of(infinity), TypeParam(1e38));
  EXPECT_TRUE(std::isnan(exp_of(std::numeric_limits<TypeParam>::quiet_NaN())));
}

TYPED_TEST(Kernels, NormalCurveIsRelativelyExactInTheTail) {
  double worst = 0;
  for (int i = -900; i <= 900; ++i) {
    const auto x = static_cast<TypeParam>(i / 100.0);
    const long double exact = 0.5L * std::erfc(-static_cast<long double>(x) / std::sqrt(2.0L));
    worst = std::max(worst, units_off(normal_curve(x).below, exact));
  }
  EXPECT_LT(worst, 100);  // x^2 / 2 of rounding, of the exponent
}

TYPED_TEST(Kernels, EveryLengthIsComputedToItsEnd) {
  for (int64_t count = 0; count < 70; ++count) {
    const auto x = numbers<TypeParam>("x", count), y = numbers<TypeParam>("y", count);
    std::vector<TypeParam> out(static_cast<size_t>(count) + 1, TypeParam(7));
    swiglu(count, x.data(), y.data(), out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const long double exact = x[i] / (1 + std::exp(-static_cast<long double>(x[i]))) * y[i];
      EXPECT_LT(units_off(out[i], exact), 6) << i << " of " << count;
    }
    EXPECT_EQ(out.back(), TypeParam(7));
  }
}

TYPED_TEST(Kernels, SwigluOfWhatIsFarOffOrNoNumber) {
  const auto infinity = std::numeric_limits<TypeParam>::infinity();
  const std::vector<TypeParam> x{
      TypeParam(-500), TypeParam(500), infinity,     std::numeric_limits<TypeParam>::quiet_NaN(),
      TypeParam(1),    TypeParam(1),   TypeParam(1), TypeParam(1)},
      y{TypeParam(1), TypeParam(1), TypeParam(1), TypeParam(1),
        TypeParam(1), TypeParam(1), TypeParam(1), std::numeric_limits<TypeParam>::quiet_NaN()};
  std::vector<TypeParam> out(x.size());
  for (int64_t repeat = 0; repeat < 5; ++repeat) {
    swiglu(static_cast<int64_t>(x.size()) - repeat / 4, x.data(), y.data(), out.data());
    EXPECT_NEAR(out[0], 0, 1e-30);
    EXPECT_EQ(out[1], TypeParam(500));
    EXPECT_EQ(out[2], infinity);
    EXPECT_TRUE(std::isnan(out[3]));
    EXPECT_LT(units_off(out[4], 1 / (1 + std::exp(-1.0L))), 6);
    EXPECT_TRUE(std::isnan(out[7]));
  }
}

TYPED_TEST(Kernels, SwigluAgainGivesTheSameBits) {
  for (int64_t count : {0, 1, 15, 16, 17, 1000}) {
    const auto x = numbers<TypeParam>("x", count, 3), y = numbers<TypeParam>("y", count),
               grad = numbers<TypeParam>("grad", count);
    std::vector<TypeParam> wanted(x.size()), out(x.size()), grad_x(x.size()), grad_y(x.size()), in_x = x, in_y = y;
    swiglu(count, x.data(), y.data(), wanted.data());
    swiglu_backward(count, grad.data(), x.data(), y.data(), grad_x.data(), grad_y.data());
    swiglu_again(count, grad.data(), in_x.data(), in_y.data(), in_x.data(), in_y.data(), out.data());
    EXPECT_EQ(out, wanted);
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_LT(units_off(in_x[i], grad_x[i]), 8);
      EXPECT_LT(units_off(in_y[i], grad_y[i]), 8);
    }
  }
}

TYPED_TEST(Kernels, GeluAndItsSlope) {
  const auto x = numbers<TypeParam>("x", 1000, 3), grad = numbers<TypeParam>("grad", 1000);
  std::vector<TypeParam> out(1000), slope(1000);
  gelu<TypeParam>(1000, x.data(), out.data());
  gelu_backward<TypeParam>(1000, grad.data(), x.data(), slope.data());
  const double bound = 8 * std::numeric_limits<TypeParam>::epsilon();
  for (size_t i = 0; i < x.size(); ++i) {
    const long double at = x[i], below = 0.5L * std::erfc(-at / std::sqrt(2.0L));
    const long double density = std::exp(-at * at / 2) / std::sqrt(2 * std::acos(-1.0L));
    EXPECT_NEAR(out[i], static_cast<double>(at * below), bound * std::abs(x[i]));
    EXPECT_NEAR(slope[i], static_cast<double>(grad[i] * (below + at * density)), bound * (1 + std::abs(grad[i])));
  }
}

/// Rows of a weighted activation, and what its sweep wrote of them.
template <class Scalar>
struct WeightedCase {
  static constexpr int64_t kRows = 5, kRowWidth = 37;
  std::vector<Scalar> x = numbers<Scalar>("x", kRows*kRowWidth, 3), y = numbers<Scalar>("y", kRows*kRowWidth),
                      grad = numbers<Scalar>("grad", kRows*kRowWidth), weight{Scalar(0.3), 0, Scalar(-1.7), 1, 2};
  std::vector<Scalar> out = std::vector<Scalar>(x.size() + 1, 7), grad_weight = std::vector<Scalar>(kRows + 1, 7);

  WeightedOutputs<Scalar> of(int64_t first, int64_t rows) {
    const int64_t at = first * kRowWidth;
    return {.rows = rows,
            .width = kRowWidth,
            .weight_R = weight.data() + first,
            .grad_RF = grad.data() + at,
            .out_RF = out.data() + at,
            .grad_weight_R = grad_weight.data() + first};
  }
  WeightedOutputs<Scalar> all() { return of(0, kRows); }
  /// Value and slope: of x in long double, and of y where there is one.
  template <class Value>
  void expect(const std::vector<Scalar>& grad_x, const Value& value) const {
    constexpr double kUnit = std::numeric_limits<Scalar>::epsilon();
    for (int64_t r = 0; r < kRows; ++r) {
      long double sum = 0, most = 0;
      for (int64_t d = 0; d < kRowWidth; ++d) {
        const auto i = static_cast<size_t>(r * kRowWidth + d);
        const auto [made, slope] = value(static_cast<long double>(x[i]), static_cast<long double>(y[i]));
        const long double w = weight[static_cast<size_t>(r)], g = grad[i];
        EXPECT_NEAR(out[i], static_cast<double>(w * made),
                    16 * kUnit * static_cast<double>(std::abs(w * x[i]) * (1 + std::abs(y[i]))));
        EXPECT_NEAR(grad_x[i], static_cast<double>(w * g * slope),
                    16 * kUnit * static_cast<double>(std::abs(w * g) * (1 + std::abs(x[i]) + std::abs(y[i]))));
        sum += made * g;
        most += std::abs(x[i] * (1 + std::abs(y[i])) * g);
      }
      EXPECT_NEAR(grad_weight[static_cast<size_t>(r)], static_cast<double>(sum),
                  16 * kUnit * static_cast<double>(most));
    }
    EXPECT_EQ(out.back(), Scalar(7));
    EXPECT_EQ(grad_weight.back(), Scalar(7));
  }
};

TYPED_TEST(Kernels, WeightedSwigluBackwardIsThatOfItsFormula) {
  WeightedCase<TypeParam> rows;
  std::vector<TypeParam> grad_x = rows.x, grad_y = rows.y;
  swiglu_weighted_again(rows.all(), grad_x.data(), grad_y.data(), grad_x.data(), grad_y.data());
  for (size_t i = 0; i < rows.y.size(); ++i) {  // what is linear in y
    const long double s = 1 / (1 + std::exp(-static_cast<long double>(rows.x[i])));
    const long double w = rows.weight[i / static_cast<size_t>(rows.kRowWidth)],
                      wanted = w * rows.grad[i] * rows.x[i] * s;
    EXPECT_NEAR(grad_y[i], static_cast<double>(wanted),
                16 * std::numeric_limits<TypeParam>::epsilon() * std::abs(static_cast<double>(wanted)));
  }
  rows.expect(grad_x, [](long double x, long double y) {
    const long double s = 1 / (1 + std::exp(-x));
    return std::pair(x * s * y, y * s * (1 + x * (1 - s)));
  });
}

TYPED_TEST(Kernels, WeightedCurvesBackwardAreThoseOfTheirFormulae) {
  WeightedCase<TypeParam> bell, hinge;
  std::vector<TypeParam> of_bell = bell.x, of_hinge = hinge.x;
  gelu_weighted_again<TypeParam>(bell.all(), of_bell.data(), of_bell.data());
  bell.expect(of_bell, [](long double x, long double) {
    const long double below = 0.5L * std::erfc(-x / std::sqrt(2.0L));
    return std::pair(x * below, below + x * std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0L)));
  });
  relu_weighted_again<TypeParam>(hinge.all(), of_hinge.data(), of_hinge.data());
  hinge.expect(of_hinge, [](long double x, long double) { return x > 0 ? std::pair(x, 1.0L) : std::pair(0.0L, 0.0L); });
}

/// Its bits, of the weight's gradient above all, do not depend on which rows are beside it.
TYPED_TEST(Kernels, AWeightedRowIsAloneInTheWorld) {
  WeightedCase<TypeParam> together, alone;
  std::vector<TypeParam> x = together.x, y = together.y, own_x = alone.x, own_y = alone.y;
  swiglu_weighted_again(together.all(), x.data(), y.data(), x.data(), y.data());
  for (int64_t r = 0; r < alone.kRows; ++r) {
    const int64_t at = r * alone.kRowWidth;
    swiglu_weighted_again(alone.of(r, 1), own_x.data() + at, own_y.data() + at, own_x.data() + at, own_y.data() + at);
  }
  EXPECT_EQ(together.out, alone.out);
  EXPECT_EQ(together.grad_weight, alone.grad_weight);
  EXPECT_EQ(x, own_x);
  EXPECT_EQ(y, own_y);
}

/// What softmax_gradient makes of a row, in long double.
template <class Scalar>
std::vector<long double> exact_gradient(const std::vector<Scalar>& row, int64_t column, double here, double each) {
  long double largest = row[0], sum = 0;
  for (const Scalar x : row) largest = std::max<long double>(largest, x);
  for (const Scalar x : row) sum += std::exp(x - largest);
  std::vector<long double> gradient;
  for (const Scalar x : row) gradient.push_back(std::exp(x - largest) / sum - each);
  if (column >= 0) gradient[static_cast<size_t>(column)] -= here;
  return gradient;
}

TYPED_TEST(Kernels, SoftmaxGradientWholeAndInSteps) {
  const int64_t columns = 2100;  // more than two blocks
  const std::vector<int64_t> target{3, -1, columns - 1};
  std::vector<TypeParam> all = numbers<TypeParam>("logits", 3 * columns, 4);
  for (int64_t n = 0; n < columns; ++n) all[static_cast<size_t>(columns + n)] += TypeParam(1000);
  std::vector<TypeParam> whole = all, steps = all, largest(3), sum(3), logits(3), largest_too(3), sum_too(3),
                         logits_too(3);
  const RowShape shape{.rows = 3, .columns = columns};
  const SoftmaxTarget wanted{.column_R = target.data(), .here = 0.9, .each = 0.1 / columns};
  softmax_gradient<TypeParam>(whole.data(), shape, wanted, {largest.data(), sum.data(), logits.data()});
  largest_of_rows<TypeParam>(steps.data(), shape, largest_too.data());
  exponentials_of_rows<TypeParam>(steps.data(), shape, {largest_too.data(), sum_too.data(), logits_too.data()});
  gradient_of_rows<TypeParam>(steps.data(), shape, wanted, sum_too.data());
  EXPECT_EQ(whole, steps);
  EXPECT_EQ(sum, sum_too);
  EXPECT_EQ(logits, logits_too);
  for (int64_t r = 0; r < 3; ++r) {
    const std::vector<TypeParam> row(all.begin() + r * columns, all.begin() + (r + 1) * columns);
    const auto exact = exact_gradient(row, target[static_cast<size_t>(r)], 0.9, 0.1 / columns);
    for (int64_t n = 0; n < columns; ++n) {
      const double wanted_here = static_cast<double>(exact[static_cast<size_t>(n)]);
      EXPECT_NEAR(whole[static_cast<size_t>(r * columns + n)], wanted_here,
                  4 * std::numeric_limits<TypeParam>::epsilon());
    }
  }
}

TYPED_TEST(Kernels, ANanInARowStaysThere) {
  std::vector<TypeParam> rows = numbers<TypeParam>("logits", 40), largest(2), sum(2), logits(2);
  rows[7] = std::numeric_limits<TypeParam>::quiet_NaN();
  const std::vector<int64_t> target{1, 1};
  softmax_gradient<TypeParam>(rows.data(), {.rows = 2, .columns = 20}, {.column_R = target.data()},
                              {largest.data(), sum.data(), logits.data()});
  EXPECT_TRUE(std::isnan(sum[0]));
  EXPECT_TRUE(std::isfinite(sum[1]));
}

// A row's bits depend neither on where it lies nor on which rows are beside it.
TYPED_TEST(Kernels, RowsAreAloneInTheWorld) {
  const int64_t width = 37;
  const auto x = numbers<TypeParam>("x", 9 * width), weight = numbers<TypeParam>("w", width);
  std::vector<TypeParam> together(x.size()), scale(9);
  rms_norm(x.data(), weight.data(), 9, width, 1e-6, together.data(), scale.data());
  for (int64_t r = 0; r < 9; ++r) {
    std::vector<TypeParam> moved(static_cast<size_t>(width) + 3), out(static_cast<size_t>(width)), own(1);
    std::copy_n(x.begin() + r * width, width, moved.begin() + r % 3);
    rms_norm(moved.data() + r % 3, weight.data(), 1, width, 1e-6, out.data(), own.data());
    EXPECT_EQ(own[0], scale[static_cast<size_t>(r)]);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), together.begin() + r * width));
  }
}

TYPED_TEST(Kernels, ATokenWithoutRowsIsZero) {
  const std::vector<TypeParam> rows{1, 2, 3, 4}, weight{2, 3, 5, 7};
  const std::vector<int64_t> row{2, 0, 2, 2};  // of 2 rows; 2: none
  std::vector<TypeParam> out(4, TypeParam(9));
  add_weighted_rows<TypeParam>({.rows_RD = rows.data(),
                                .row_TK = row.data(),
                                .weight_TK = weight.data(),
                                .tokens = 2,
                                .choices = 2,
                                .rows = 2,
                                .width = 2},
                               out.data());
  EXPECT_EQ(out, (std::vector<TypeParam>{3, 6, 0, 0}));
}

}  // namespace
}  // namespace parallel
