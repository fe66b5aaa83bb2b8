#include "moetrain/products/tile_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "moetrain/products/product_way.h"
#include "tests/support/random_tensor.h"
#include "tests/support/threads.h"

namespace moetrain {
namespace {

at::Tensor drawn(const char* name, at::IntArrayRef shape) { return random_tensor(name, shape).to(at::kBFloat16); }

/// The same numbers, each column's beside each other, or rows that lie apart.
at::Tensor by_columns(const at::Tensor& matrix) { return matrix.t().contiguous().t(); }
at::Tensor apart(const at::Tensor& matrix) {
  const at::Tensor wide = at::full({matrix.size(0), matrix.size(1) + 8}, 1e30, matrix.options());
  return wide.narrow(1, 0, matrix.size(1)).copy_(matrix);
}

/// Where this processor has tiles; what is not rounded is within float32's, what is within one rounding more.
void expect_product(const at::Tensor& left, const at::Tensor& right) {
  const at::Tensor exact = at::mm(left.to(at::kDouble), right.to(at::kDouble));
  const double largest = exact.abs().max().item<double>();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool add : {false, true}) {
      SCOPED_TRACE(std::string(at::toString(type)) + (add ? ", added" : ""));
      at::Tensor first;
      for (const int threads : {1, 3}) {
        const Threads own(threads);
        const at::Tensor there = add ? random_tensor("there", exact.sizes()).to(type)
                                     : at::full(exact.sizes(), std::numeric_limits<float>::quiet_NaN(), type);
        const at::Tensor out = there.clone();
        ASSERT_EQ(multiply_by_tiles({out, left, right, add}), has_tiles());
        if (!has_tiles()) {
          EXPECT_TRUE(at::equal(out.isnan(), there.isnan())) << "nothing is done";
          continue;
        }
        const at::Tensor wanted = add ? there.to(at::kDouble) + exact : exact;
        const double bound = (type == at::kFloat ? 1e-6 : 0x1.1p-8) * (largest + (add ? 4 : 0));
        EXPECT_LE((out.to(at::kDouble) - wanted).abs().max().item<double>(), bound);
        if (!first.defined()) first = out;
        EXPECT_TRUE(at::equal(out, first)) << "threads have no say";
      }
    }
  }
}

TEST(TileProduct, OfAnyNumberOfRows) {
  for (const int64_t rows : {16, 17, 63, 64, 100, 300, 530}) {
    for (const int64_t columns : {16, 80, 144}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(columns) + " columns");
      const at::Tensor left = drawn("left", {rows, 96}), right = drawn("right", {96, columns});
      expect_product(left, right);
      expect_product(apart(left), by_columns(right));
    }
  }
}

TEST(TileProduct, OfMoreNumbersThanAreAtHandAtOnce) {
  const at::Tensor left = drawn("left", {40, 2080}), right = drawn("right", {2080, 48});
  expect_product(left, right);
  expect_product(left, by_columns(right));
}

TEST(TileProduct, OverAnyNumberOfRows) {
  for (const int64_t rows : {1, 2, 31, 64, 100, 513, 1100}) {
    for (const int64_t width : {16, 80, 272}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(width) + " wide");
      const at::Tensor left = drawn("left", {rows, width}), right = drawn("right", {rows, 80});
      if (rows > 1) expect_product(left.t(), right);
      expect_product(apart(left).t(), apart(right));
    }
  }
}

TEST(TileProduct, OverSoManyRowsThatTheyComeInParts) {
  const at::Tensor left = drawn("left", {9000, 48}), right = drawn("right", {9000, 528});
  const at::Tensor out = at::empty({48, 528}, at::kFloat);
  ASSERT_EQ(multiply_by_tiles({out, left.t(), right}), has_tiles());
  const at::Tensor exact = at::mm(left.t().to(at::kDouble), right.to(at::kDouble));
  if (!has_tiles()) return;
  EXPECT_LE((out - exact).abs().max().item<double>(), 1e-6 * exact.abs().max().item<double>());
}

/// What experts' products go through, by bits: oneDNN and MKL sum up in another order.
TEST(TileProduct, IsWhatProductsOfBf16GoThrough) {
  const at::Tensor left = drawn("left", {300, 96}), right = drawn("right", {96, 64}), grad = drawn("grad", {300, 64});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor own = at::zeros({300, 64}, type), all = at::zeros({300, 64}, type);
    const at::Tensor own_sum = at::zeros({96, 64}, type), all_sum = at::zeros({96, 64}, type);
    multiply_all({{all, left, right}, {all_sum, left.t(), grad}}, {});
    EXPECT_EQ(multiply_by_tiles({own, left, right}), has_tiles());
    EXPECT_EQ(multiply_by_tiles({own_sum, left.t(), grad}), has_tiles());
    if (has_tiles()) {
      EXPECT_TRUE(at::equal(own, all));
      EXPECT_TRUE(at::equal(own_sum, all_sum));
    }
  }
}

TEST(TileProduct, ARowIsAloneInTheWorld) {
  if (!has_tiles()) {
    EXPECT_FALSE(multiply_by_tiles({at::empty({48, 32}), drawn("left", {48, 32}), drawn("right", {32, 32})}));
    return;
  }
  const at::Tensor left = drawn("left", {75, 64}), right = drawn("right", {64, 32});
  const at::Tensor out = at::empty({75, 32}, at::kFloat), with_nan = at::empty({75, 32}, at::kFloat);
  ASSERT_TRUE(multiply_by_tiles({out, left, right}));
  const at::Tensor spoilt = left.clone();
  spoilt.select(0, 70).fill_(std::numeric_limits<float>::quiet_NaN());
  ASSERT_TRUE(multiply_by_tiles({with_nan, spoilt, right}));
  EXPECT_TRUE(with_nan.select(0, 70).isnan().all().item<bool>());
  for (const int64_t row : {0, 69, 71, 74}) EXPECT_TRUE(at::equal(with_nan.select(0, row), out.select(0, row)));
  // The same in another product.
  const at::Tensor last = at::empty({20, 32}, at::kFloat);
  ASSERT_TRUE(multiply_by_tiles({last, left.narrow(0, 55, 20), right}));
  EXPECT_TRUE(at::equal(last, out.narrow(0, 55, 20)));
}

TEST(TileProduct, WhatLiesOtherwiseIsLeftAlone) {
  const at::Tensor out = at::zeros({32, 32}, at::kFloat), good = drawn("good", {32, 32});
  const auto refused = [&](const at::Tensor& to, const at::Tensor& left, const at::Tensor& right) {
    EXPECT_FALSE(multiply_by_tiles({to, left, right}));
    EXPECT_TRUE(to.eq(0).all().item<bool>());
  };
  refused(out.t(), good, good);                                               // columns
  refused(at::zeros({32, 23}), good, drawn("right", {32, 23}));               // no whole vector of them
  refused(out, drawn("left", {32, 50}), drawn("right", {50, 32}));            // sums of no whole vector
  refused(at::zeros({15, 32}), drawn("left", {15, 32}), good);                // few rows
  refused(out, good.t(), by_columns(good));                                   // sums over what lies in neither's rows
  refused(out.to(at::kDouble), good, good);                                   // no such sums
  refused(out, good.to(at::kFloat), good.to(at::kFloat));                     // no such numbers
  refused(at::zeros({32, 32}), good.narrow(0, 0, 1).expand({32, 32}), good);  // one row for all
  refused(at::zeros({0, 32}), good.narrow(0, 0, 0), good);                    // nothing
}

}  // namespace
}  // namespace moetrain
