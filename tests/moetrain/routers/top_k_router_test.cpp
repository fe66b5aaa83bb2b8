#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "moetrain/routers/router.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

constexpr int64_t kRouterTokens = 21, kRouterExperts = 6, kRouterWidth = 4;

std::shared_ptr<Router> router_of(const std::string& gate, int64_t top_k, at::ScalarType type = at::kDouble) {
  const MoeConfig config{.experts = kRouterExperts, .top_k = top_k, .gate = gate};
  return builtin_routers().at("top_k").make(ParameterSource(5, type), config, {kRouterWidth, 1.0});
}

RoutingDecision route(Router& router, const at::Tensor& tokens_TD) {
  parallel::LocalCommunicator alone;
  const BatchScope scope{alone, tokens_TD.size(0), true};
  return router.forward(tokens_TD, {scope});
}

at::Tensor router_tokens() { return random_tensor("tokens", {kRouterTokens, kRouterWidth}); }

/// One token by plain loops: exp(logit) over their sum, the largest first.
void expect_row(const double* token, const at::Tensor& weight_ED, const RoutingDecision& decision, int64_t t,
                bool sum1) {
  std::vector<double> logit, probability;
  double total = 0;
  for (int64_t e = 0; e < kRouterExperts; ++e) {
    double dot = 0;
    for (int64_t d = 0; d < kRouterWidth; ++d) dot += token[d] * weight_ED[e][d].item<double>();
    logit.push_back(dot);
    total += std::exp(dot);
  }
  for (const double one : logit) probability.push_back(std::exp(one) / total);
  std::vector<double> sorted = probability;
  std::sort(sorted.rbegin(), sorted.rend());
  const int64_t top_k = decision.assignment.expert_TK.size(1);
  double chosen_sum = 0;
  for (int64_t j = 0; j < top_k; ++j) chosen_sum += sorted[static_cast<size_t>(j)];
  for (int64_t e = 0; e < kRouterExperts; ++e) {
    EXPECT_NEAR(decision.logits_TE[t][e].item<double>(), logit[static_cast<size_t>(e)], 1e-13);
    EXPECT_NEAR(decision.probabilities_TE[t][e].item<double>(), probability[static_cast<size_t>(e)], 1e-14);
  }
  for (int64_t j = 0; j < top_k; ++j) {
    const double p = sorted[static_cast<size_t>(j)];
    const auto expert = static_cast<size_t>(decision.assignment.expert_TK[t][j].item<int64_t>());
    EXPECT_EQ(probability[expert], p);
    EXPECT_NEAR(decision.assignment.weight_TK[t][j].item<double>(), sum1 ? p / chosen_sum : p, 1e-14);
  }
}

TEST(TopKRouter, FollowsItsFormula) {
  for (const char* gate : {"sum1", "raw"}) {
    for (const int64_t top_k : {1, 2, 3, 6}) {
      const auto router = router_of(gate, top_k);
      const at::Tensor tokens = router_tokens();
      const RoutingDecision decision = route(*router, tokens);
      ASSERT_EQ(decision.assignment.expert_TK.sizes(), (at::IntArrayRef{kRouterTokens, top_k}));
      EXPECT_EQ(decision.assignment.num_experts, kRouterExperts);
      for (int64_t t = 0; t < kRouterTokens; ++t) {
        expect_row(tokens[t].const_data_ptr<double>(), router->parameters().front(), decision, t,
                   gate == std::string("sum1"));
      }
    }
  }
}

TEST(TopKRouter, GateWeightsCarryTheGradient) {
  for (const char* gate : {"sum1", "raw"}) {
    const auto router = router_of(gate, 2);
    const at::Tensor tokens = router_tokens().requires_grad_(true);
    const at::Tensor probe = random_tensor("probe", {kRouterTokens, 2});
    expect_gradients([&] { return (route(*router, tokens).assignment.weight_TK * probe).sum(); },
                     {tokens, router->parameters().front()});
  }
}

TEST(TopKRouter, SumOneOfOneChoiceIsOne) {
  const RoutingDecision decision = route(*router_of("sum1", 1), router_tokens());
  EXPECT_TRUE(decision.assignment.weight_TK.equal(at::ones({kRouterTokens, 1}, at::kDouble)));
}

TEST(TopKRouter, TiesGoToTheSmallerExpert) {
  const RoutingDecision decision = route(*router_of("raw", 3), at::zeros({2, kRouterWidth}, at::kDouble));
  EXPECT_TRUE(decision.assignment.expert_TK.equal(at::tensor({0, 1, 2, 0, 1, 2}, at::kLong).view({2, 3})));
}

TEST(TopKRouter, LowPrecisionModelsAreRoutedInFloat32) {
  const auto router = router_of("sum1", 2, at::kBFloat16);
  EXPECT_EQ(router->parameters().front().scalar_type(), at::kBFloat16);
  const at::Tensor tokens = router_tokens().to(at::kBFloat16);
  const RoutingDecision decision = route(*router, tokens);
  EXPECT_EQ(decision.logits_TE.scalar_type(), at::kFloat);
  EXPECT_EQ(decision.probabilities_TE.scalar_type(), at::kFloat);
  EXPECT_EQ(decision.assignment.weight_TK.scalar_type(), at::kBFloat16);
  const at::Tensor exact = at::linear(tokens.to(at::kDouble), router->parameters().front().detach().to(at::kDouble));
  EXPECT_TRUE(at::allclose(decision.logits_TE.to(at::kDouble), exact, 1e-5, 1e-6));
}

TEST(TopKRouter, ShardedDecisionsEqualThoseOfOneRank) {
  const auto router = router_of("sum1", 2);
  const at::Tensor tokens = router_tokens();
  const RoutingDecision whole = route(*router, tokens);
  for (const auto& split : token_splits(kRouterTokens, test_world()->size())) {
    const BatchScope scope{*test_world(), kRouterTokens, true};
    const RoutingDecision here = router->forward(shard_of(tokens, split), {scope});
    EXPECT_TRUE(here.assignment.expert_TK.equal(shard_of(whole.assignment.expert_TK, split)));
    EXPECT_TRUE(at::allclose(here.assignment.weight_TK, shard_of(whole.assignment.weight_TK, split), 1e-13, 0));
    EXPECT_TRUE(here.global_choices_E.equal(whole.global_choices_E));
  }
}

TEST(Routers, UnknownNameListsTheKnown) {
  try {
    builtin_routers().at("topk");
    ADD_FAILURE() << "no fault";
  } catch (const parallel::UserError& error) {
    EXPECT_EQ(error.what(), "unknown router 'topk'; known: " + parallel::list_names(builtin_routers().names()));
  }
}

TEST(Routers, OwnRowsAreAdded) {
  auto routers = builtin_routers();
  const RouterMaker mine = routers.at("top_k").make;
  routers.add("mine", {.make = mine});
  EXPECT_EQ(routers.at("mine").make, mine);
}

}  // namespace
}  // namespace moetrain
