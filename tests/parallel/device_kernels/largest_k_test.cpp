#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/device_buffer.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

/// All columns of a row, as moetrain/ranking's page says.
std::vector<int64_t> ranked(const std::vector<double>& given, const std::vector<double>& magnitude, double bound) {
  std::vector<double> value = given;
  for (double& x : value) x = std::isnan(x) ? -std::numeric_limits<double>::infinity() : x;
  std::vector<int64_t> order(value.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  const auto at = [](const std::vector<double>& all, int64_t i) { return all[static_cast<size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return at(value, a) > at(value, b); });
  const auto joined = [&](int64_t a, int64_t b) {
    const double gap = at(value, a) - at(value, b);
    return at(value, a) == at(value, b) ||
           (std::isfinite(gap) && gap <= bound * std::max(at(magnitude, a), at(magnitude, b)));
  };
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    for (end = begin + 1; end < order.size() && joined(order[end - 1], order[end]);) ++end;
    std::sort(order.begin() + static_cast<int64_t>(begin), order.begin() + static_cast<int64_t>(end));
  }
  return order;
}

template <class Number>
class LargestKernel : public testing::Test {};
using RankedTypes = testing::Types<float, double>;
TYPED_TEST_SUITE(LargestKernel, RankedTypes);

template <class Number>
void check_largest(const std::vector<Number>& value, int64_t rows, int64_t columns, int64_t k, double bound) {
  std::vector<Number> magnitude;
  for (const Number x : value) magnitude.push_back(std::max<Number>(std::abs(x), 1));
  const DeviceBuffer<Number> there(value), size(magnitude);
  const DeviceBuffer<int64_t> chosen(static_cast<size_t>(rows * k));
  expect_no_fault(compiled_kernels()->largest_k(
      {kElement<Number>, rows, columns, k, there.data(), size.data(), bound, chosen.data()}, {}));
  const auto got = chosen.on_host();
  for (int64_t r = 0; r < rows; ++r) {
    const auto wanted = ranked({value.begin() + r * columns, value.begin() + (r + 1) * columns},
                               {magnitude.begin() + r * columns, magnitude.begin() + (r + 1) * columns}, bound);
    for (int64_t j = 0; j < k; ++j) {
      ASSERT_EQ(got[static_cast<size_t>(r * k + j)], wanted[static_cast<size_t>(j)])
          << "choice " << j << " of " << k << " in row " << r << " of " << columns << " columns";
    }
  }
}

TYPED_TEST(LargestKernel, AsRankingSays) {
  for (const int64_t columns : {1, 2, 8, 31, 32, 33, 64, 129, 300, 512}) {
    for (const int64_t k : {1, 2, 8, 40}) {
      if (k > columns) continue;
      check_largest(numbers<TypeParam>("value", 5 * columns), 5, columns, k, 0x1p-18);
      check_largest(numbers<TypeParam>("value", 5 * columns), 5, columns, k, 0.05);  // classes of many, in chains
    }
  }
}

TYPED_TEST(LargestKernel, EqualInfiniteAndNoNumbers) {
  const auto infinity = std::numeric_limits<TypeParam>::infinity(), nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const int64_t columns : {5, 70}) {
    std::vector<TypeParam> all_equal(static_cast<size_t>(columns), TypeParam(0.25)), none(all_equal.size(), nan);
    std::vector<TypeParam> mixed = numbers<TypeParam>("mixed", columns);
    mixed[1] = infinity, mixed[2] = nan, mixed[3] = -infinity, mixed[4] = infinity;
    for (const auto& row : {all_equal, none, mixed}) {
      for (const int64_t k : {int64_t{1}, int64_t{3}, columns}) check_largest(row, 1, columns, k, 0x1p-18);
    }
  }
}

TYPED_TEST(LargestKernel, NoRows) { check_largest(std::vector<TypeParam>{}, 0, 8, 2, 0x1p-18); }

}  // namespace
}  // namespace parallel
