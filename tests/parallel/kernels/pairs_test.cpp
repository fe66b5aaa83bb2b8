// Layouts of pairs against their definition, number by number, for sizes that fill no block and rows that lie apart.
// The registered entries repeat them for each set of instructions.
#include "parallel/kernels/pairs.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

constexpr int64_t kSums[] = {1, 2, 31, 32, 33, 95, 130}, kColumns[] = {16, 48, 64}, kApart[] = {0, 5, 32};

uint16_t half(const std::vector<Pair>& pairs, int64_t k, int64_t n, int64_t stride) {
  return static_cast<uint16_t>(pairs[static_cast<size_t>(k / 2 * stride + n)] >> (k % 2 * 16));
}

TEST(Pairs, OfRowsArePaddedWithZeros) {
  for (const int64_t sum : kSums) {
    for (const int64_t columns : kColumns) {
      for (const int64_t apart : kApart) {
        const PairShape shape{.sum = sum, .columns = columns};
        const int64_t stride = columns + apart, pair_stride = columns + 16;
        const auto in = numbers<Bfloat16>("rows", sum * stride);
        std::vector<Pair> pairs(static_cast<size_t>(shape.padded_sum() / 2 * pair_stride), 7);
        pairs_of_rows(shape, in.data(), stride, pairs.data(), pair_stride);
        for (int64_t k = 0; k < shape.padded_sum(); ++k) {
          for (int64_t n = 0; n < columns; ++n) {
            ASSERT_EQ(half(pairs, k, n, pair_stride), k < sum ? in[static_cast<size_t>(k * stride + n)].bits : 0)
                << k << " " << n << " of " << sum << " x " << columns;
          }
          ASSERT_EQ(half(pairs, k, columns, pair_stride), k % 2 == 0 ? 7 : 0) << "written beyond";
        }
      }
    }
  }
}

TEST(Pairs, OfColumnsAreThoseOfRows) {
  for (const int64_t sum : {32, 96, 160}) {
    for (const int64_t columns : kColumns) {
      for (const int64_t apart : kApart) {
        const int64_t stride = sum + apart;
        const auto in = numbers<Bfloat16>("columns", columns * stride);
        std::vector<Pair> pairs(static_cast<size_t>(sum / 2 * columns));
        pairs_of_columns({.sum = sum, .columns = columns}, in.data(), stride, pairs.data(), columns);
        for (int64_t k = 0; k < sum; ++k) {
          for (int64_t n = 0; n < columns; ++n)
            ASSERT_EQ(half(pairs, k, n, columns), in[static_cast<size_t>(n * stride + k)].bits) << k << " " << n;
        }
      }
    }
  }
}

TEST(Pairs, ColumnsBecomeRows) {
  for (const int64_t sum : kSums) {
    for (const int64_t columns : kColumns) {
      for (const int64_t apart : kApart) {
        const PairShape shape{.sum = sum, .columns = columns};
        const int64_t stride = columns + apart, out_stride = shape.padded_sum() + 64;
        const auto in = numbers<Bfloat16>("turned", sum * stride);
        std::vector<Bfloat16> out(static_cast<size_t>(columns * out_stride), Bfloat16(7));
        columns_as_rows(shape, in.data(), stride, out.data(), out_stride);
        for (int64_t n = 0; n < columns; ++n) {
          for (int64_t k = 0; k < out_stride; ++k) {
            const uint16_t wanted = k < sum                  ? in[static_cast<size_t>(k * stride + n)].bits
                                    : k < shape.padded_sum() ? 0
                                                             : Bfloat16(7).bits;
            ASSERT_EQ(out[static_cast<size_t>(n * out_stride + k)].bits, wanted) << k << " " << n;
          }
        }
      }
    }
  }
}

template <class Scalar>
void expect_given(int64_t columns, int64_t out_stride, int64_t from, bool add) {
  constexpr int64_t kRows = 5, kStride = 80;
  SCOPED_TRACE(std::to_string(columns) + " columns from " + std::to_string(from) + (add ? ", added" : ""));
  const auto sums = numbers<float>("sums", kRows * kStride);
  const auto there = numbers<Scalar>("there", kRows * out_stride + from);
  std::vector<Scalar> out = there;
  give_sums(kRows, columns, sums.data(), kStride, out.data() + from, out_stride, add);
  for (int64_t i = 0; i < kRows * out_stride; ++i) {
    const int64_t r = i / out_stride, n = i % out_stride;
    const Scalar before = there[static_cast<size_t>(from + i)];
    const float sum = sums[static_cast<size_t>(r * kStride + n)];
    const Scalar wanted = n >= columns ? before : Scalar(add ? before + sum : sum);
    ASSERT_EQ(exact(out[static_cast<size_t>(from + i)]), exact(wanted)) << r << " " << n;
  }
}

TEST(Pairs, SumsAreRoundedOnceAndNowhereElse) {
  for (const int64_t columns : {1, 16, 33, 64}) {
    for (const int64_t out_stride : {64, 71, 80}) {
      for (const int64_t from : {0, 1, 4, 8, 12}) {  // some of them where whole vectors may pass the cache by
        for (const bool add : {false, true}) {
          expect_given<float>(columns, out_stride, from, add);
          expect_given<Bfloat16>(columns, out_stride, from, add);
        }
      }
    }
  }
}

}  // namespace
}  // namespace parallel
