#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tests/moetrain/routers/routing_support.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

constexpr int64_t kBiasTokens = 40, kBiasWidth = 5;

/// 12 experts in 4 groups of 3, of which 2 are open.
MoeConfig bias_config() {
  MoeConfig config{.router = "sigmoid_bias", .experts = 12, .top_k = 3, .gate = "sum1"};
  config.route_scale = 2.5;
  config.own<SigmoidBiasConfig>() = {.groups = 4, .top_groups = 2, .bias_rate = 0.01};
  return config;
}

at::Tensor bias_tokens() { return random_tensor("bias tokens", {kBiasTokens, kBiasWidth}); }

/// The numbers of the `count` largest of `values`, largest first; ties to the smaller number.
std::vector<size_t> largest(const std::vector<double>& values, size_t count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  order.resize(count);
  return order;
}

/// One token as the paper has it.
std::vector<size_t> chosen_by_hand(const std::vector<double>& biased) {
  std::vector<double> groups, open(12, -1e300);
  for (size_t g = 0; g < 4; ++g) {
    std::vector<double> group(biased.begin() + 3 * static_cast<int64_t>(g),
                              biased.begin() + 3 * static_cast<int64_t>(g) + 3);
    std::sort(group.rbegin(), group.rend());
    groups.push_back(group[0] + group[1]);
  }
  for (const size_t g : largest(groups, 2))
    std::copy_n(biased.begin() + 3 * static_cast<int64_t>(g), 3, open.begin() + 3 * static_cast<int64_t>(g));
  return largest(open, 3);
}

TEST(SigmoidBias, FollowsItsFormula) {
  const auto router = make_router(bias_config(), kBiasWidth);
  const at::Tensor weight_ED = router->named_parameters()["weight"].detach();
  at::Tensor bias_E = router->named_buffers()["bias"];
  ASSERT_TRUE(bias_E.equal(at::zeros({12}, at::kDouble)));
  bias_E.copy_(random_tensor("bias", {12}) * 0.3);
  const RoutingDecision decision = route_alone(*router, bias_tokens());
  const at::Tensor logits_TE = at::mm(bias_tokens(), weight_ED.t());
  for (int64_t t = 0; t < kBiasTokens; ++t) {
    std::vector<double> score, biased;
    for (int64_t e = 0; e < 12; ++e) {
      score.push_back(1 / (1 + std::exp(-logits_TE[t][e].item<double>())));
      biased.push_back(score.back() + bias_E[e].item<double>());
    }
    const double total = std::accumulate(score.begin(), score.end(), 0.0);
    const std::vector<size_t> chosen = chosen_by_hand(biased);
    double sum = 0;
    for (const size_t e : chosen) sum += score[e];
    for (size_t j = 0; j < 3; ++j) {
      const auto k = static_cast<int64_t>(j);
      EXPECT_EQ(decision.assignment.expert_TK[t][k].item<int64_t>(), static_cast<int64_t>(chosen[j])) << t;
      EXPECT_NEAR(decision.assignment.weight_TK[t][k].item<double>(), 2.5 * score[chosen[j]] / sum, 1e-13);
    }
    for (size_t e = 0; e < 12; ++e) {
      EXPECT_NEAR(decision.probabilities_TE[t][static_cast<int64_t>(e)].item<double>(), score[e] / total, 1e-14);
    }
  }
}

TEST(SigmoidBias, TheBiasMovesAgainstTheLoad) {
  const auto router = make_router(bias_config(), kBiasWidth);
  const at::Tensor bias_E = router->named_buffers()["bias"];
  // 25 choices of 12 experts: the mean is 25 / 12.
  router->after_update(at::tensor({3, 2, 2, 3, 0, 1, 2, 3, 3, 2, 2, 2}, at::kLong));
  const at::Tensor once = at::tensor({-1, 1, 1, -1, 1, 1, 1, -1, -1, 1, 1, 1}, at::kDouble) * 0.01;
  EXPECT_TRUE(bias_E.equal(once));
  router->after_update(at::full({12}, 7, at::kLong));  // balanced: nothing moves
  EXPECT_TRUE(bias_E.equal(once));
}

TEST(SigmoidBias, ForwardLeavesTheBiasAndTheWeightsDoNotSeeIt) {
  const auto router = make_router(bias_config(), kBiasWidth);
  at::Tensor bias_E = router->named_buffers()["bias"];
  bias_E.fill_(0.25);  // the same for all: no other choice, no other weight
  const RoutingDecision biased = route_alone(*router, bias_tokens());
  EXPECT_TRUE(bias_E.equal(at::full({12}, 0.25, at::kDouble)));
  bias_E.zero_();
  const RoutingDecision plain = route_alone(*router, bias_tokens());
  EXPECT_TRUE(biased.assignment.expert_TK.equal(plain.assignment.expert_TK));
  EXPECT_TRUE(biased.assignment.weight_TK.equal(plain.assignment.weight_TK));
}

TEST(SigmoidBias, TheBiasIsAtLeastFloat32AndNoParameter) {
  const auto router = make_router(bias_config(), kBiasWidth, 0, at::kBFloat16);
  EXPECT_EQ(router->named_buffers()["bias"].scalar_type(), at::kFloat);
  EXPECT_EQ(router->named_parameters().size(), 1u);
}

TEST(SigmoidBias, SeveralUpdatesAreTheSameHoweverTokensAreSpread) {
  constexpr int64_t kUpdates = 6;
  const auto tokens_of = [](int64_t micro_batch) {
    return random_tensor("update " + std::to_string(micro_batch), {kBiasTokens, kBiasWidth});
  };
  const auto trace = [&](parallel::Communicator& group, const std::vector<int64_t>* split) {
    const auto router = make_router(bias_config(), kBiasWidth);
    for (int64_t update = 0; update < kUpdates; ++update) {
      at::Tensor choices_E = at::zeros({12}, at::kLong);
      for (int64_t m = 0; m < 2; ++m) {
        const at::Tensor whole_TD = tokens_of(2 * update + m), here_TD = split ? shard_of(whole_TD, *split) : whole_TD;
        const BatchScope scope{group, kBiasTokens, true};
        choices_E += router->forward(here_TD, {scope}).global_choices_E;
      }
      EXPECT_EQ(choices_E.sum().item<int64_t>(), 2 * 3 * kBiasTokens);
      router->after_update(choices_E);
    }
    return router->named_buffers()["bias"].clone();
  };
  parallel::LocalCommunicator alone;
  const at::Tensor expected = trace(alone, nullptr);
  EXPECT_GT(expected.abs().max().item<double>(), 0.03);
  for (const auto& split : token_splits(kBiasTokens, test_world()->size())) {
    EXPECT_TRUE(trace(*test_world(), &split).equal(expected)) << split;
  }
}

TEST(SigmoidBias, BalancesWithoutALoss) {
  MoeConfig config = bias_config();
  config.own<SigmoidBiasConfig>().groups = config.own<SigmoidBiasConfig>().top_groups = 1;
  const auto router = make_router(config, kBiasWidth);
  // A router that prefers the experts in order: most tokens want the first.
  const at::NoGradGuard no_gradient;
  at::Tensor tokens = random_tensor("unbalanced", {200, kBiasWidth});
  tokens.select(1, 0).fill_(1.0);
  router->named_parameters()["weight"].select(1, 0).copy_(at::linspace(2, -2, 12, at::kDouble));
  const auto largest_load = [&] { return route_alone(*router, tokens).global_choices_E.max().item<int64_t>(); };
  EXPECT_GT(largest_load(), 120);  // the mean is 50
  for (int64_t update = 0; update < 300; ++update) {
    router->after_update(route_alone(*router, tokens).global_choices_E);
  }
  EXPECT_LT(largest_load(), 60);
}

}  // namespace
}  // namespace moetrain
