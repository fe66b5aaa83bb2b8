#include "moetrain/attention/stick_breaking.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "moetrain/attention/attention.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kPlaces = 40;

/// Logits [3, L, L] of causal queries, some of them far from 0.
at::Tensor causal_logits(double std) {
  const at::Tensor later_LL = at::ones({kPlaces, kPlaces}, at::kBool).triu(1);
  return random_tensor("logits", {3, kPlaces, kPlaces}, std)
      .masked_fill(later_LL, -std::numeric_limits<double>::infinity());
}

/// b_j times the product of all 1 - b behind it, term by term.
at::Tensor by_products(const at::Tensor& logits_LK) {
  const at::Tensor b_LK = at::sigmoid(logits_LK);
  at::Tensor weight_LK = at::zeros_like(logits_LK), left_L = at::ones_like(logits_LK.select(-1, 0));
  for (int64_t j = logits_LK.size(-1) - 1; j >= 0; --j) {
    weight_LK.select(-1, j).copy_(b_LK.select(-1, j) * left_L);
    left_L = left_L * (1 - b_LK.select(-1, j));
  }
  return weight_LK;
}

TEST(StickBreaking, EqualsTheProductsAndSumsToAtMostOne) {
  for (const double std : {0.3, 3.0, 30.0}) {
    const at::Tensor logits = causal_logits(std), wide = stick_breaking(logits), by_hand = by_products(logits);
    EXPECT_LE((wide - by_hand).abs().max().item<double>(), 1e-12) << std;
    EXPECT_LE(wide.sum(-1).max().item<double>(), 1 + 1e-12) << std;
    EXPECT_EQ(wide.triu(1).abs().max().item<double>(), 0.0);
    const at::Tensor narrow = stick_breaking(logits.to(at::kFloat));
    EXPECT_LE((narrow.to(at::kDouble) - by_hand).abs().max().item<double>(), 1e-5) << std;
    EXPECT_LE(narrow.sum(-1).max().item<double>(), 1 + 1e-6) << std;
  }
  EXPECT_GT((1 - stick_breaking(causal_logits(0.3)).sum(-1)).max().item<double>(), 0.3);  // a first place keeps half
}

TEST(StickBreaking, TheLatestOfEqualMatchesWins) {
  const at::Tensor weight = stick_breaking(at::full({1, 4}, 4.0, at::kDouble));
  for (int64_t j = 1; j < 4; ++j) {
    EXPECT_NEAR(weight[0][j].item<double>() / weight[0][j - 1].item<double>(), 1 + std::exp(4.0), 1e-9);
  }
}

TEST(StickBreaking, GradientsEqualFiniteDifferences) {
  const at::Tensor later = at::ones({6, 6}, at::kBool).triu(1), probe = random_tensor("probe", {2, 6, 6});
  const at::Tensor logits = random_tensor("small logits", {2, 6, 6}).requires_grad_(true);
  const double never = -std::numeric_limits<double>::infinity();
  expect_gradients([&] { return (stick_breaking(logits.masked_fill(later, never)) * probe).sum(); }, {logits}, 1e-7,
                   72);
  torch::autograd::backward({(stick_breaking(logits.masked_fill(later, never)) * probe).sum()}, {});
  EXPECT_TRUE(logits.grad().isfinite().all().item<bool>());
}

AttentionShape sticks() {
  AttentionShape shape{.width = 8, .heads = 4, .kv_heads = 2, .rotary = false};
  shape.options.weights = "stick_breaking", shape.options.positions = "none";
  return shape;
}

TEST(StickBreaking, OfAnAttentionByHand) {
  const at::NoGradGuard no_gradient;
  const Attention layer(ParameterSource(3, at::kDouble), sticks(), 0.6, 0.4);
  const at::Tensor input = random_tensor("input", {7, 8});
  const auto weights = layer.named_parameters();
  const at::Tensor query = at::matmul(input, weights["query.weight"].t()).view({7, 4, 2});
  const at::Tensor key = at::matmul(input, weights["key.weight"].t()).view({7, 2, 2});
  const at::Tensor value = at::matmul(input, weights["value.weight"].t()).view({7, 2, 2});
  at::Tensor seen = at::zeros({7, 4, 2}, at::kDouble);
  for (int64_t i = 0; i < 7; ++i) {
    for (int64_t h = 0; h < 4; ++h) {
      double left = 1;
      for (int64_t j = i; j >= 0; --j) {
        const double b = 1 / (1 + std::exp(-(query[i][h] * key[j][h / 2]).sum().item<double>() / std::sqrt(2.0)));
        seen[i][h] += b * left * value[j][h / 2];
        left *= 1 - b;
      }
    }
  }
  const at::Tensor expected = at::matmul(seen.flatten(1), weights["output.weight"].t());
  EXPECT_TRUE(at::allclose(layer.forward(input, Sequences::uniform(1, 7, at::kCPU), nullptr), expected, 1e-12, 1e-13));
}

TEST(StickBreaking, DecodingWithACacheEqualsTheFullForward) {
  const at::NoGradGuard no_gradient;
  const Attention layer(ParameterSource(3, at::kDouble), sticks(), 0.6, 0.4);
  const at::Tensor input = random_tensor("input", {12, 8});
  const at::Tensor full = layer.forward(input, Sequences::uniform(2, 6, at::kCPU), nullptr).view({2, 6, 8});
  KeyValueCache cache;
  std::vector<at::Tensor> parts;
  for (int64_t place = 0; place < 6; ++place) {
    const at::Tensor now = input.view({2, 6, 8}).select(1, place);
    parts.push_back(layer.forward(now, Sequences::uniform(2, 1, at::kCPU), &cache).unsqueeze(1));
  }
  EXPECT_TRUE(at::allclose(at::cat(parts, 1), full, 1e-12, 1e-13));
}

}  // namespace
}  // namespace moetrain
