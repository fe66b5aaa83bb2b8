// What decoding takes in place of the operations that training has, against these.
#include "moetrain/fused/few_rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/fused/attention.h"
#include "moetrain/fused/rotation.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr std::pair<at::ScalarType, double> kFewRowsTypes[] = {{at::kDouble, 1e-13}, {at::kFloat, 1e-5}};

/// Relative to the largest: of a sum that cancels out nothing relative to itself can be asked.
void expect_near(const at::Tensor& got, const at::Tensor& wanted, double tolerance) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  ASSERT_EQ(got.scalar_type(), wanted.scalar_type());
  const at::Tensor off = (got - wanted).abs().max() / wanted.abs().max();
  EXPECT_LT(off.item<double>(), tolerance);
}

TEST(FewRowsProducts, LinearEqualsLibTorchs) {
  const at::NoGradGuard no_gradient;
  for (const auto& [type, tolerance] : kFewRowsTypes) {
    const at::Tensor weight = random_tensor("weight", {211, 67}).to(type), bias = random_tensor("bias", {211}).to(type);
    for (int64_t rows = 1; rows <= 8; ++rows) {
      const at::Tensor x = random_tensor("x", {rows, 67}).to(type);
      ASSERT_TRUE(has_few_rows(x, weight));
      expect_near(few_rows_linear(x, weight, {}), at::linear(x, weight), tolerance);
      expect_near(few_rows_linear(x.view({rows, 1, 67}), weight, bias), at::linear(x.view({rows, 1, 67}), weight, bias),
                  tolerance);
    }
  }
}

TEST(FewRowsProducts, OfWhatTheyAre) {
  const at::Tensor weight = random_tensor("weight", {5, 6}), x = random_tensor("x", {3, 6});
  EXPECT_FALSE(has_few_rows(x, weight)) << "gradients are on";
  const at::NoGradGuard no_gradient;
  EXPECT_TRUE(has_few_rows(x, weight));
  EXPECT_FALSE(has_few_rows(random_tensor("x", {9, 6}), weight));
  EXPECT_FALSE(has_few_rows(x.narrow(0, 0, 0), weight));
  EXPECT_FALSE(has_few_rows(x.to(at::kFloat), weight));
  EXPECT_FALSE(has_few_rows(x.to(at::kBFloat16), weight.to(at::kBFloat16)));
  EXPECT_FALSE(has_few_rows(random_tensor("x", {6, 3}).t(), weight));
  EXPECT_FALSE(has_few_rows_of_experts(random_tensor("x", {9, 6}), random_tensor("weights", {2, 6, 5}), {9, 0}));
}

TEST(FewRowsProducts, ExpertsEqualOneProductEach) {
  const at::NoGradGuard no_gradient;
  const std::vector<int64_t> counts{0, 3, 1, 0, 8};
  for (const auto& [type, tolerance] : kFewRowsTypes) {
    const at::Tensor weight = random_tensor("weight", {5, 37, 83}).to(type), x = random_tensor("x", {12, 37}).to(type);
    ASSERT_TRUE(has_few_rows_of_experts(x, weight, counts));
    const at::Tensor wanted =
        at::cat({x.narrow(0, 0, 3).mm(weight[1]), x.narrow(0, 3, 1).mm(weight[2]), x.narrow(0, 4, 8).mm(weight[4])});
    expect_near(few_rows_experts(x, weight, counts), wanted, tolerance);
  }
}

/// To caches with room, of sequences that end at different places.
TEST(FewRowsProducts, NextAttentionEqualsTheMaskedOne) {
  const at::NoGradGuard no_gradient;
  const std::vector<int64_t> end_S{9, 1, 30};
  for (const auto& [type, tolerance] : kFewRowsTypes) {
    for (const int64_t sharing : {1, 2, 4}) {
      for (const int64_t window : {0, 5}) {
        for (const bool sinks : {false, true}) {
          const at::Tensor query = random_tensor("query", {3, 1, 4, 6}).to(type).transpose(1, 2);
          const at::Tensor key = random_tensor("key", {3, 4 / sharing, 41, 6}).to(type).narrow(2, 0, 30);
          const at::Tensor value = random_tensor("value", {3, 4 / sharing, 41, 17}).to(type).narrow(2, 0, 30);
          const at::Tensor end_S1 = at::tensor(end_S, at::kLong).unsqueeze(1), place_1L = at::arange(30).unsqueeze(0);
          at::Tensor seen_SL = place_1L < end_S1;
          if (window > 0) seen_SL = seen_SL.logical_and(place_1L >= end_S1 - window);
          const at::Tensor sinks_H = sinks ? random_tensor("sinks", {4}).to(type) : at::Tensor();
          ASSERT_TRUE(has_next_attention(query, key, value));
          const at::Tensor wanted = softmax_attention(
              query, key, value,
              {.seen = seen_SL.unsqueeze(1).unsqueeze(1), .causal = false, .scale = 0.4, .sinks_H = sinks_H});
          const at::Tensor got =
              next_attention(query, key, value, {.end_S = end_S, .window = window, .scale = 0.4, .sinks_H = sinks_H});
          expect_near(got, wanted, tolerance);
        }
      }
    }
  }
}

TEST(FewRowsProducts, RotationAtPlacesIsThatOfThePlaces) {
  const at::NoGradGuard no_gradient;
  const at::Tensor angle = random_tensor("angle", {12, 4}), x = random_tensor("x", {3, 1, 5, 8}).transpose(1, 2);
  const std::vector<int64_t> place_S{11, 0, 6};
  for (const bool neighbours : {false, true}) {
    const at::Tensor got = rotate_pairs_at(x, angle.cos(), angle.sin(), place_S, neighbours);
    for (int64_t s = 0; s < 3; ++s) {
      const at::Tensor own = angle.narrow(0, place_S[static_cast<size_t>(s)], 1);
      EXPECT_TRUE(got.narrow(0, s, 1).equal(rotate_pairs(x.narrow(0, s, 1), own.cos(), own.sin(), neighbours)));
    }
  }
}

/// A NaN or an infinity among logits stays a NaN.
TEST(FewRowsProducts, NextAttentionHidesNoNan) {
  const at::NoGradGuard no_gradient;
  const std::vector<int64_t> end_S{7};
  const at::Tensor query = random_tensor("query", {1, 2, 1, 6}), value = random_tensor("value", {1, 2, 7, 6});
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const at::Tensor key = random_tensor("key", {1, 2, 7, 6});
    key.select(2, 3).fill_(bad);
    EXPECT_TRUE(next_attention(query, key, value, {.end_S = end_S}).isnan().all().item<bool>());
  }
}

}  // namespace
}  // namespace moetrain
