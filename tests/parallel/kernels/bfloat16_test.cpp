// Loops over numbers of 16 bits against the same formulae in double: they compute in float32, and round a result once.
// The registered entries repeat them for each set of instructions.
#include "parallel/kernels/bfloat16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "parallel/kernels/activations.h"
#include "parallel/kernels/attention/attention.h"
#include "parallel/kernels/rms_norm.h"
#include "parallel/kernels/rotation.h"
#include "parallel/kernels/token_rows.h"
#include "tests/support/kernel_numbers.h"

namespace parallel {
namespace {

Bfloat16 of_bits(uint32_t bits) {
  Bfloat16 x;
  x.bits = static_cast<uint16_t>(bits);
  return x;
}

std::vector<Bfloat16> zeros(int64_t count) { return std::vector<Bfloat16>(static_cast<size_t>(count), Bfloat16(0)); }

/// Off by half of the distance to the next number, of which float32 may have lost some; two roundings are farther off
/// now and then. small: of what float32 cannot tell from 0 beside the numbers that were added.
void expect_once(Bfloat16 got, double wanted, double small = 0) {
  const double next = wanted == 0 ? 0 : std::ldexp(1.0, std::ilogb(wanted) - 7);
  EXPECT_NEAR(exact(got), wanted, 0.505 * next + small);
}

TEST(Bfloat16, EveryNumberIsItself) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = of_bits(bits);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(Bfloat16(x)))) << bits;
    } else {
      EXPECT_EQ(Bfloat16(x).bits, bits);
    }
  }
}

TEST(Bfloat16, IsTheNearestAndOfTwoTheEvenOne) {
  EXPECT_EQ(exact(Bfloat16(1 + 0x1p-8F)), 1);
  EXPECT_EQ(exact(Bfloat16(1 + 0x1.8p-7F)), 1 + 0x1p-6);
  EXPECT_EQ(exact(Bfloat16(1 + 0x1.01p-8F)), 1 + 0x1p-7);
  EXPECT_EQ(exact(Bfloat16(-1 - 0x1.01p-8F)), -1 - 0x1p-7);
  EXPECT_EQ(exact(Bfloat16(0x1.8p-133F)), 0x1p-132) << "a denormal";
  EXPECT_EQ(exact(Bfloat16(std::numeric_limits<float>::max())), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(static_cast<float>(Bfloat16(std::bit_cast<float>(0x7f800001U)))));
}

TEST(Bfloat16, ActivationsRoundOnceToTheEndOfEveryLength) {
  for (int64_t count = 0; count < 140; ++count) {
    const auto x = numbers<Bfloat16>("x", count, 3), y = numbers<Bfloat16>("y", count),
               grad = numbers<Bfloat16>("grad", count);
    auto out = zeros(count + 1), again = zeros(count + 1), grad_x = zeros(count), grad_y = zeros(count), in_x = x,
         in_y = y, bell = zeros(count), slope = zeros(count);
    out.back() = again.back() = Bfloat16(7);
    swiglu(count, x.data(), y.data(), out.data());
    swiglu_backward(count, grad.data(), x.data(), y.data(), grad_x.data(), grad_y.data());
    swiglu_again(count, grad.data(), in_x.data(), in_y.data(), in_x.data(), in_y.data(), again.data());
    gelu(count, x.data(), bell.data());
    gelu_backward(count, grad.data(), x.data(), slope.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double a = exact(x[i]), b = exact(y[i]), g = exact(grad[i]), s = 1 / (1 + std::exp(-a));
      const double below = 0.5 * std::erfc(-a / std::sqrt(2.0)),
                   density = std::exp(-a * a / 2) / std::sqrt(2 * std::acos(-1.0));
      expect_once(out[i], a * s * b);
      expect_once(grad_x[i], g * b * s * (1 + a * (1 - s)), 1e-6);
      expect_once(grad_y[i], g * a * s);
      EXPECT_EQ(again[i].bits, out[i].bits);
      expect_once(in_x[i], g * b * s * (1 + a * (1 - s)), 1e-6);
      expect_once(in_y[i], g * a * s);
      expect_once(bell[i], a * below, 1e-7);
      expect_once(slope[i], g * (below + a * density), 1e-6);
    }
    EXPECT_EQ(exact(out.back()), 7);
    EXPECT_EQ(exact(again.back()), 7);
  }
}

TEST(Bfloat16, AWeightedActivationRoundsOnceToo) {
  for (int64_t width = 0; width < 70; ++width) {
    const auto x = numbers<Bfloat16>("x", width, 3), y = numbers<Bfloat16>("y", width),
               grad = numbers<Bfloat16>("grad", width);
    const Bfloat16 weight(0.3F);
    auto in_x = x, in_y = y, out = zeros(width);
    Bfloat16 grad_weight(0);
    swiglu_weighted_again<Bfloat16>({.rows = 1,
                                     .width = width,
                                     .weight_R = &weight,
                                     .grad_RF = grad.data(),
                                     .out_RF = out.data(),
                                     .grad_weight_R = &grad_weight},
                                    in_x.data(), in_y.data(), in_x.data(), in_y.data());
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double a = exact(x[i]), b = exact(y[i]), g = exact(grad[i]), s = 1 / (1 + std::exp(-a)), w = exact(weight);
      expect_once(out[i], w * a * s * b);
      expect_once(in_x[i], w * g * b * s * (1 + a * (1 - s)), 1e-6);
      expect_once(in_y[i], w * g * a * s);
      sum += a * s * b * g;
    }
    expect_once(grad_weight, sum, 1e-4);
  }
}

TEST(Bfloat16, ANanStaysOneAndWhatIsFarOffToo) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<Bfloat16> x(40, Bfloat16(1)), y(40, Bfloat16(1)), out = zeros(40);
  x[3] = Bfloat16(std::numeric_limits<float>::quiet_NaN());
  x[5] = Bfloat16(infinity);
  x[7] = Bfloat16(-500);
  swiglu(40, x.data(), y.data(), out.data());
  EXPECT_TRUE(std::isnan(exact(out[3])));
  EXPECT_EQ(exact(out[5]), infinity);
  EXPECT_NEAR(exact(out[7]), 0, 1e-30);
  expect_once(out[8], 1 / (1 + std::exp(-1.0)));
}

TEST(Bfloat16, SumsOfATokensRowsRoundOnce) {
  const int64_t tokens = 9, choices = 5, width = 67, rows = tokens * choices - 2;
  const auto from = numbers<Bfloat16>("rows", rows * width), weight = numbers<Bfloat16>("weight", tokens * choices);
  std::vector<int64_t> row_TK;
  for (int64_t slot = 0; slot < tokens * choices; ++slot) row_TK.push_back(std::min(slot * 7 % (rows + 3), rows));
  for (int64_t slot = 0; slot < choices; ++slot) row_TK[static_cast<size_t>(slot)] = rows;
  for (const bool weighted : {false, true}) {
    auto out = numbers<Bfloat16>("garbage", tokens * width);
    add_weighted_rows<Bfloat16>({.rows_RD = from.data(),
                                 .row_TK = row_TK.data(),
                                 .weight_TK = weighted ? weight.data() : nullptr,
                                 .tokens = tokens,
                                 .choices = choices,
                                 .rows = rows,
                                 .width = width},
                                out.data());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t d = 0; d < width; ++d) {
        double sum = 0;
        for (int64_t slot = t * choices; slot < (t + 1) * choices; ++slot) {
          const int64_t row = row_TK[static_cast<size_t>(slot)];
          const double factor = weighted ? exact(weight[static_cast<size_t>(slot)]) : 1;
          if (row < rows) sum += factor * exact(from[static_cast<size_t>(row * width + d)]);
        }
        expect_once(out[static_cast<size_t>(t * width + d)], sum, 1e-6);
      }
    }
  }
}

TEST(Bfloat16, TheWayBackOfATokensRows) {
  const int64_t rows = 6, width = 35;
  const auto grad = numbers<Bfloat16>("grad", 4 * width), from = numbers<Bfloat16>("rows", rows * width),
             weight = numbers<Bfloat16>("weight", rows);
  const std::vector<int64_t> token{0, 3, 1, 1, 0, 2}, slot{5, 0, 4, 1, 2, 3};
  auto grad_rows = zeros(rows * width), grad_weight = zeros(rows);
  weighted_rows_backward<Bfloat16>({.grad_TD = grad.data(),
                                    .rows_RD = from.data(),
                                    .weight_TK = weight.data(),
                                    .token_R = token.data(),
                                    .slot_R = slot.data(),
                                    .rows = rows,
                                    .width = width},
                                   grad_rows.data(), grad_weight.data());
  for (int64_t r = 0; r < rows; ++r) {
    const auto own = static_cast<size_t>(slot[static_cast<size_t>(r)]);
    double dot = 0;
    for (int64_t d = 0; d < width; ++d) {
      const double above = exact(grad[static_cast<size_t>(token[static_cast<size_t>(r)] * width + d)]);
      dot += above * exact(from[static_cast<size_t>(r * width + d)]);
      expect_once(grad_rows[static_cast<size_t>(r * width + d)], exact(weight[own]) * above);
    }
    expect_once(grad_weight[own], dot, 1e-5);
  }
}

TEST(Bfloat16, NormAndItsGradients) {
  const int64_t rows = 150, width = 41;  // more than two blocks
  const double epsilon = 1e-6;
  const auto x = numbers<Bfloat16>("x", rows * width), weight = numbers<Bfloat16>("weight", width),
             grad = numbers<Bfloat16>("grad", rows * width);
  auto y = zeros(rows * width), grad_x = zeros(rows * width), grad_weight = zeros(width);
  std::vector<float> scale(static_cast<size_t>(rows));
  rms_norm(x.data(), weight.data(), rows, width, epsilon, y.data(), scale.data());
  rms_norm_backward<Bfloat16>({.grad_TD = grad.data(),
                               .x_TD = x.data(),
                               .weight_D = weight.data(),
                               .scale_T = scale.data(),
                               .rows = rows,
                               .width = width},
                              grad_x.data(), grad_weight.data());
  std::vector<double> of_weight(static_cast<size_t>(width), 0);
  for (int64_t t = 0; t < rows; ++t) {
    double squares = 0, mean = 0;
    const auto at = [&](const std::vector<Bfloat16>& all, int64_t d) {
      return exact(all[static_cast<size_t>(t * width + d)]);
    };
    const auto w = [&](int64_t d) { return exact(weight[static_cast<size_t>(d)]); };
    for (int64_t d = 0; d < width; ++d) squares += at(x, d) * at(x, d);
    const double r = 1 / std::sqrt(squares / width + epsilon);
    for (int64_t d = 0; d < width; ++d) mean += at(grad, d) * at(x, d) * r * w(d) / width;
    for (int64_t d = 0; d < width; ++d) {
      expect_once(y[static_cast<size_t>(t * width + d)], at(x, d) * r * w(d));
      expect_once(grad_x[static_cast<size_t>(t * width + d)], r * (at(grad, d) * w(d) - at(x, d) * r * mean), 1e-5);
      of_weight[static_cast<size_t>(d)] += at(grad, d) * at(x, d) * r;
    }
  }
  for (size_t d = 0; d < of_weight.size(); ++d) expect_once(grad_weight[d], of_weight[d], 1e-4);
}

TEST(Bfloat16, RotationAndTheWayBack) {
  const int64_t heads = 2, positions = 3, width = 38, half = width / 2;
  const auto x = numbers<Bfloat16>("x", heads * positions * width), cos = numbers<Bfloat16>("cos", positions * half),
             sin = numbers<Bfloat16>("sin", positions * half);
  for (const bool neighbours : {false, true}) {
    for (const bool back : {false, true}) {
      auto to = zeros(heads * positions * width);
      const auto rows = [&]<class Number>(Number* data) {
        return HeadRows<Number>{data, heads * positions * width, positions * width, width};
      };
      rotate_pairs<Bfloat16>({.sequences = 1,
                              .heads = heads,
                              .positions = positions,
                              .width = width,
                              .neighbours = neighbours,
                              .back = back},
                             rows(x.data()), cos.data(), sin.data(), rows(to.data()));
      for (int64_t row = 0; row < heads * positions; ++row) {
        for (int64_t i = 0; i < half; ++i) {
          const auto first = static_cast<size_t>(row * width + (neighbours ? 2 * i : i));
          const size_t second = neighbours ? first + 1 : first + static_cast<size_t>(half);
          const auto place = static_cast<size_t>(row % positions * half + i);
          const double c = exact(cos[place]), s = (back ? -1 : 1) * exact(sin[place]);
          expect_once(to[first], exact(x[first]) * c - exact(x[second]) * s, 1e-6);
          expect_once(to[second], exact(x[second]) * c + exact(x[first]) * s, 1e-6);
        }
      }
    }
  }
}

/// Probabilities that never leave float32: what goes in and out is all that is rounded.
TEST(Bfloat16, AttentionEqualsThatOfFloat32RoundedOnce) {
  const int64_t S = 2, H = 4, G = 2, L = 55, d = 21;
  for (const bool causal : {false, true}) {
    const AttentionShape shape{.sequences = S,
                               .query_heads = H,
                               .key_heads = G,
                               .queries = L,
                               .keys = L,
                               .width = d,
                               .value_width = d,
                               .causal = causal,
                               .scale = 0.3};
    const auto low = [&](const char* name, int64_t heads) { return numbers<Bfloat16>(name, S * heads * L * d); };
    const auto wide = [](const std::vector<Bfloat16>& all) { return std::vector<float>(all.begin(), all.end()); };
    const auto rows = [&]<class Number>(Number* data, int64_t heads) {
      return HeadRows<Number>{data, heads * L * d, L * d, d};
    };
    const auto query = low("query", H), key = low("key", G), value = low("value", G), above = low("above", H);
    const auto query_w = wide(query), key_w = wide(key), value_w = wide(value), above_w = wide(above);
    auto out = zeros(S * H * L * d), grad_q = zeros(S * H * L * d), grad_k = zeros(S * G * L * d), grad_v = grad_k;
    std::vector<float> out_w(out.size()), grad_q_w(out.size()), grad_k_w(grad_k.size()), grad_v_w(grad_k.size());
    std::vector<float> sum(static_cast<size_t>(S * H * L)), sum_w(sum.size());
    const AttentionInputs<Bfloat16> in{rows(query.data(), H), rows(key.data(), G), rows(value.data(), G)};
    const AttentionInputs<float> in_w{rows(query_w.data(), H), rows(key_w.data(), G), rows(value_w.data(), G)};
    attention<Bfloat16>(shape, in, rows(out.data(), H), sum.data());
    attention<float>(shape, in_w, rows(out_w.data(), H), sum_w.data());
    EXPECT_EQ(sum, sum_w);
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i].bits, Bfloat16(out_w[i]).bits) << i;
    for (size_t i = 0; i < out.size(); ++i) out_w[i] = out[i];  // of which backward begins
    attention_backward<Bfloat16>(shape, in, rows(std::as_const(out).data(), H), sum.data(), rows(above.data(), H),
                                 {rows(grad_q.data(), H), rows(grad_k.data(), G), rows(grad_v.data(), G), nullptr});
    attention_backward<float>(shape, in_w, rows(std::as_const(out_w).data(), H), sum_w.data(), rows(above_w.data(), H),
                              {rows(grad_q_w.data(), H), rows(grad_k_w.data(), G), rows(grad_v_w.data(), G), nullptr});
    for (size_t i = 0; i < grad_q.size(); ++i) expect_once(grad_q[i], grad_q_w[i], 1e-6);
    for (size_t i = 0; i < grad_k.size(); ++i) {
      expect_once(grad_k[i], grad_k_w[i], 1e-6);
      expect_once(grad_v[i], grad_v_w[i], 1e-6);
    }
  }
}

}  // namespace
}  // namespace parallel
