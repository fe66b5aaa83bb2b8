// Routers whose choice depends on the whole micro-batch: expert choice and Sinkhorn.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/moetrain/routers/routing_support.h"
#include "tests/support/bounded_experts.h"

namespace moetrain {
namespace {

constexpr int64_t kBalancedTokens = 30, kBalancedWidth = 4, kBalancedExperts = 5;

at::Tensor balanced_tokens(int64_t tokens = kBalancedTokens) {
  return random_tensor("balanced tokens", {tokens, kBalancedWidth});
}

at::Tensor logits_of(Router& router, const at::Tensor& tokens_TD) {
  return at::mm(tokens_TD, router.named_parameters()["weight"].detach().t());
}

MoeConfig expert_choice(double factor) {
  MoeConfig config{.router = "expert_choice", .experts = kBalancedExperts, .top_k = 2, .gate = "raw"};
  bound_experts(config, 1.25, "probability");
  config.own<BoundConfig>().factor = factor;
  return config;
}

TEST(ExpertChoice, EachExpertTakesItsMostProbableTokens) {
  const MoeConfig config = expert_choice(0.5);  // 0.5 * 2 * 30 / 5 = 6 tokens each
  const auto router = make_router(config, kBalancedWidth);
  const RoutingDecision decision = route_alone(*router, balanced_tokens());
  const at::Tensor p_TE = at::softmax(logits_of(*router, balanced_tokens()), 1);
  ASSERT_EQ(decision.assignment.expert_TK.sizes(), (at::IntArrayRef{kBalancedTokens, kBalancedExperts}));
  at::Tensor expected = at::full({kBalancedTokens, kBalancedExperts}, -1, at::kLong);
  for (int64_t e = 0; e < kBalancedExperts; ++e) {
    std::vector<int64_t> order(kBalancedTokens);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return p_TE[a][e].item<double>() > p_TE[b][e].item<double>(); });
    for (size_t i = 0; i < 6; ++i) expected[order[i]][e] = e;
  }
  EXPECT_TRUE(decision.assignment.expert_TK.equal(expected));
  EXPECT_TRUE(at::allclose(decision.assignment.weight_TK, p_TE, 1e-13, 0));
  const int64_t untaken = (expected == -1).all(1).sum().item<int64_t>();
  EXPECT_GT(untaken, 0);
  EXPECT_EQ(decision.dropped, untaken);
}

TEST(ExpertChoice, TiesGoToTheEarlierToken) {
  const RoutingDecision decision =
      route_alone(*make_router(expert_choice(1.0), kBalancedWidth), at::zeros({10, kBalancedWidth}, at::kDouble));
  for (int64_t t = 0; t < 10; ++t) {
    EXPECT_EQ((decision.assignment.expert_TK[t] >= 0).all().item<bool>(), t < 4) << t;  // 2 * 10 / 5 tokens each
  }
  EXPECT_EQ(decision.dropped, 6);
}

TEST(ExpertChoice, InEvaluationATokenDependsOnNoOther) {
  const auto router = make_router(expert_choice(0.5), kBalancedWidth);
  const RoutingDecision all = route_alone(*router, balanced_tokens(), {.training = false});
  EXPECT_EQ(all.dropped, 0);
  EXPECT_EQ(all.assignment.expert_TK.size(1), 2);
  const RoutingDecision one = route_alone(*router, balanced_tokens().narrow(0, 7, 1), {.training = false});
  EXPECT_TRUE(one.assignment.expert_TK[0].equal(all.assignment.expert_TK[7]));
  EXPECT_TRUE(at::allclose(one.assignment.weight_TK[0], all.assignment.weight_TK[7], 1e-13, 0));
}

MoeConfig sinkhorn(int64_t top_k) {
  MoeConfig config{.router = "sinkhorn", .experts = kBalancedExperts, .top_k = top_k, .gate = "raw"};
  config.own<SinkhornConfig>() = {.iterations = 500, .tolerance = 1e-13};
  return config;
}

/// exp(logits) with rows of sum 1 / N and columns of sum 1 / E, by plain alternation.
at::Tensor balanced_matrix(const at::Tensor& logits_TE) {
  at::Tensor matrix_TE = at::exp(logits_TE);
  for (int64_t i = 0; i < 2000; ++i) {
    matrix_TE = matrix_TE / matrix_TE.sum(1, true) / static_cast<double>(logits_TE.size(0));
    matrix_TE = matrix_TE / matrix_TE.sum(0, true) / static_cast<double>(logits_TE.size(1));
  }
  return matrix_TE;
}

TEST(Sinkhorn, ChoosesFromTheBalancedMatrix) {
  for (const int64_t top_k : {1, 2}) {
    const auto router = make_router(sinkhorn(top_k), kBalancedWidth);
    const RoutingDecision decision = route_alone(*router, balanced_tokens());
    const at::Tensor logits_TE = logits_of(*router, balanced_tokens());
    const at::Tensor chosen_TK =
        std::get<1>(balanced_matrix(logits_TE).sort(1, /*descending=*/true)).narrow(1, 0, top_k);
    EXPECT_TRUE(decision.assignment.expert_TK.equal(chosen_TK));
    const at::Tensor gate_TE = top_k == 1 ? at::sigmoid(logits_TE) : at::softmax(logits_TE, 1);
    EXPECT_TRUE(at::allclose(decision.assignment.weight_TK, gate_TE.gather(1, chosen_TK), 1e-13, 0));
    EXPECT_TRUE(at::allclose(decision.probabilities_TE, at::softmax(logits_TE, 1), 1e-13, 0));
  }
}

TEST(Sinkhorn, SpreadsTokensThatAllPreferOneExpert) {
  const auto router = make_router(sinkhorn(1), kBalancedWidth);
  const at::NoGradGuard no_gradient;
  at::Tensor tokens = balanced_tokens(500);
  tokens.select(1, 0).fill_(1.0);
  router->named_parameters()["weight"].select(1, 0).copy_(at::linspace(4, -4, kBalancedExperts, at::kDouble));
  const at::Tensor plain_E = route_alone(*router, tokens, {.training = false}).global_choices_E;
  const at::Tensor balanced_E = route_alone(*router, tokens).global_choices_E;
  EXPECT_GT(plain_E.max().item<int64_t>(), 350);     // the mean is 100
  EXPECT_LT(balanced_E.max().item<int64_t>(), 150);  // the largest of a row is balanced nearly as the row is
}

TEST(Sinkhorn, AnExpertThatUnderflowsEverywhereIsFinite) {
  const auto router = make_router(sinkhorn(1), kBalancedWidth);
  const at::NoGradGuard no_gradient;
  at::Tensor tokens = balanced_tokens();
  tokens.select(1, 0).fill_(1.0);
  router->named_parameters()["weight"][2][0] = -5000.0;
  const RoutingDecision decision = route_alone(*router, tokens);
  EXPECT_TRUE(at::isfinite(decision.assignment.weight_TK).all().item<bool>());
  EXPECT_EQ(decision.global_choices_E.sum().item<int64_t>(), kBalancedTokens);
}

TEST(Sinkhorn, EvaluationIsThePlainTopK) {
  const auto router = make_router(sinkhorn(2), kBalancedWidth);
  const RoutingDecision decision = route_alone(*router, balanced_tokens(), {.training = false});
  const at::Tensor logits_TE = logits_of(*router, balanced_tokens());
  EXPECT_TRUE(decision.assignment.expert_TK.equal(std::get<1>(logits_TE.sort(1, /*descending=*/true)).narrow(1, 0, 2)));
}

}  // namespace
}  // namespace moetrain
