#include "moetrain/attention/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>

#include "parallel/base/fault.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

Sequences of_length(const at::Tensor& input_TD, int64_t length) {
  return Sequences::uniform(input_TD.size(0) / length, length, at::kCPU);
}

constexpr int64_t kSequences = 2, kLength = 6, kAttentionWidth = 16;

Rotary plain_rotary(int64_t head_dim, double theta) { return {rope_frequencies({}, head_dim, theta), at::kDouble}; }

using Complex = std::complex<double>;

/// One place's vector of `head_dim` numbers by complex multiplication: (x[i] + i x[i + h]) e^(i angle).
std::vector<double> rotated(const double* x, int64_t head_dim, int64_t position, double theta) {
  const int64_t half = head_dim / 2;
  std::vector<double> out(static_cast<size_t>(head_dim));
  for (int64_t i = 0; i < half; ++i) {
    const double angle =
        static_cast<double>(position) * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const Complex turned = Complex(x[i], x[i + half]) * std::exp(Complex(0, angle));
    out[static_cast<size_t>(i)] = turned.real();
    out[static_cast<size_t>(i + half)] = turned.imag();
  }
  return out;
}

TEST(Rotary, IsAMultiplicationOfComplexNumbers) {
  const Rotary rotary = plain_rotary(8, 500.0);
  const at::Tensor x = random_tensor("x", {2, 3, 5, 8});
  for (const int64_t first : {0, 7}) {
    const at::Tensor y = rotary.rotate(x, first);
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t h = 0; h < 3; ++h) {
        for (int64_t l = 0; l < 5; ++l) {
          const at::Tensor expected =
              at::tensor(rotated(x[s][h][l].const_data_ptr<double>(), 8, first + l, 500.0), at::kDouble);
          EXPECT_TRUE(at::allclose(y[s][h][l], expected, 1e-13, 1e-13)) << first << ", " << l;
        }
      }
    }
  }
}

TEST(Rotary, ProductsDependOnTheDistanceOnly) {
  const Rotary rotary = plain_rotary(8, 10000.0);
  const at::Tensor query = random_tensor("q", {1, 1, 1, 8}), key = random_tensor("k", {1, 1, 1, 8});
  const auto product = [&](int64_t m, int64_t n) {
    return (rotary.rotate(query, m) * rotary.rotate(key, n)).sum().item<double>();
  };
  for (const int64_t distance : {0, 1, 5}) {
    for (const int64_t place : {1, 17, 400}) EXPECT_NEAR(product(place + distance, place), product(distance, 0), 1e-11);
  }
  EXPECT_GT(std::abs(product(5, 0) - product(0, 0)), 1e-3);
}

TEST(Rotary, KeepsLengthsAndThePlaceZero) {
  const Rotary rotary = plain_rotary(6, 10000.0);
  const at::Tensor x = random_tensor("x", {1, 2, 4, 6}), y = rotary.rotate(x, 0);
  EXPECT_TRUE(at::allclose(y.square().sum(3), x.square().sum(3), 1e-13, 0));
  EXPECT_TRUE(y.select(2, 0).equal(x.select(2, 0)));
}

TEST(Rotary, GrowingDoesNotChangeEarlierPlaces) {
  const Rotary grown = plain_rotary(6, 10000.0), fresh = plain_rotary(6, 10000.0);
  const at::Tensor x = random_tensor("x", {1, 1, 3, 6});
  const at::Tensor early = grown.rotate(x, 0);
  grown.rotate(x, 1000);
  EXPECT_TRUE(grown.rotate(x, 0).equal(early));
  EXPECT_TRUE(grown.rotate(x, 2).equal(fresh.rotate(x, 2)));
}

struct HeadCase {
  int64_t heads, kv_heads;
};

class AttentionTest : public testing::TestWithParam<HeadCase> {
 protected:
  at::Tensor weight(const char* name) const { return layer_.named_parameters()[std::string(name) + ".weight"]; }

  /// Loops over sequences, heads and places; each place sees itself and what is before it.
  at::Tensor naive(const at::Tensor& input_TD, int64_t length) const {
    const int64_t head_dim = kAttentionWidth / shape_.heads, share = shape_.heads / shape_.kv_heads;
    const at::Tensor query = at::mm(input_TD, weight("query").t()), key = at::mm(input_TD, weight("key").t()),
                     value = at::mm(input_TD, weight("value").t());
    const auto turned = [&](const at::Tensor& all, int64_t token, int64_t head) {
      const at::Tensor part = all[token].narrow(0, head * head_dim, head_dim).contiguous();
      return at::tensor(rotated(part.const_data_ptr<double>(), head_dim, token % length, shape_.rope_theta),
                        at::kDouble);
    };
    at::Tensor mixed = at::zeros_like(input_TD);
    for (int64_t t = 0; t < input_TD.size(0); ++t) {
      for (int64_t h = 0; h < shape_.heads; ++h) {
        double total = 0;
        at::Tensor sum = at::zeros({head_dim}, at::kDouble);
        for (int64_t u = t - t % length; u <= t; ++u) {
          const double score = at::dot(turned(query, t, h), turned(key, u, h / share)).item<double>();
          const double power = std::exp(score / std::sqrt(static_cast<double>(head_dim)));
          total += power;
          sum += power * value[u].narrow(0, h / share * head_dim, head_dim);
        }
        mixed[t].narrow(0, h * head_dim, head_dim).copy_(sum / total);
      }
    }
    return at::mm(mixed, weight("output").t());
  }

  const AttentionShape shape_{kAttentionWidth, GetParam().heads, GetParam().kv_heads, 100.0};
  const Attention layer_{ParameterSource(3, at::kDouble), shape_, 0.6, 0.4};
  const at::Tensor input_ = random_tensor("attention input", {kSequences * kLength, kAttentionWidth});
};

TEST_P(AttentionTest, EqualsTheNaiveMaskedSoftmax) {
  const at::NoGradGuard no_gradient;
  EXPECT_TRUE(
      at::allclose(layer_.forward(input_, of_length(input_, kLength), nullptr), naive(input_, kLength), 1e-12, 1e-13));
}

TEST_P(AttentionTest, OnePlaceSeesItselfOnly) {
  const at::NoGradGuard no_gradient;
  EXPECT_TRUE(at::allclose(layer_.forward(input_, of_length(input_, 1), nullptr), naive(input_, 1), 1e-12, 1e-13));
}

TEST_P(AttentionTest, GradientsEqualFiniteDifferences) {
  const at::Tensor input = input_.clone().requires_grad_(true), probe = random_tensor("probe", input.sizes());
  std::vector<at::Tensor> inputs = layer_.parameters();
  inputs.push_back(input);
  expect_gradients([&] { return (layer_.forward(input, of_length(input, kLength), nullptr) * probe).sum(); }, inputs,
                   1e-6, 24);
}

TEST_P(AttentionTest, DecodingWithACacheEqualsTheFullForward) {
  const at::NoGradGuard no_gradient;
  const at::Tensor full =
      layer_.forward(input_, of_length(input_, kLength), nullptr).view({kSequences, kLength, kAttentionWidth});
  const at::Tensor by_sequence = input_.view({kSequences, kLength, kAttentionWidth});
  for (const int64_t prompt : {int64_t{1}, int64_t{4}, kLength}) {
    KeyValueCache cache;
    const auto decode = [&](int64_t first, int64_t count) {
      const at::Tensor part = by_sequence.narrow(1, first, count).reshape({-1, kAttentionWidth});
      return layer_.forward(part, of_length(part, count), &cache).view({kSequences, count, kAttentionWidth});
    };
    std::vector<at::Tensor> parts{decode(0, prompt)};
    EXPECT_EQ(cache.length(), prompt);
    for (int64_t place = prompt; place < kLength; ++place) parts.push_back(decode(place, 1));
    EXPECT_EQ(cache.length(), kLength);
    EXPECT_TRUE(at::allclose(at::cat(parts, 1), full, 1e-12, 1e-13)) << prompt;
    // Not of every query head, and at most twice the places.
    EXPECT_LE(cache.bytes(),
              2 * input_.element_size() * kSequences * shape_.kv_heads * 2 * kLength * shape_.head_width());
    EXPECT_THROW(layer_.forward(input_.narrow(0, 0, 4), Sequences::uniform(2, 2, at::kCPU), &cache),
                 parallel::InternalError);
  }
}

TEST_P(AttentionTest, LaterPlacesAndOtherSequencesDoNotReachBack) {
  const at::NoGradGuard no_gradient;
  at::Tensor changed = input_.clone();
  changed[3] += 1.0;
  const at::Tensor before = layer_.forward(input_, of_length(input_, kLength), nullptr),
                   after = layer_.forward(changed, of_length(changed, kLength), nullptr);
  EXPECT_TRUE(before.narrow(0, 0, 3).equal(after.narrow(0, 0, 3)));
  EXPECT_FALSE(at::allclose(before.narrow(0, 3, 3), after.narrow(0, 3, 3), 1e-6, 1e-6));
  EXPECT_TRUE(before.narrow(0, kLength, kLength).equal(after.narrow(0, kLength, kLength)));
}

TEST_P(AttentionTest, NoTokens) {
  const at::Tensor none = at::empty({0, kAttentionWidth}, at::kDouble);
  EXPECT_EQ(layer_.forward(none, of_length(none, kLength), nullptr).sizes(), none.sizes());
}

INSTANTIATE_TEST_SUITE_P(Heads, AttentionTest,
                         testing::Values(HeadCase{4, 4}, HeadCase{4, 2}, HeadCase{4, 1}, HeadCase{1, 1}),
                         [](const testing::TestParamInfo<HeadCase>& one) {
                           return std::to_string(one.param.heads) + "On" + std::to_string(one.param.kv_heads);
                         });

}  // namespace
}  // namespace moetrain
