// MoE++'s router: MLP scores, the gating residual, and the gate over true experts.
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/routers/gates.h"
#include "parallel/base/fault.h"
#include "tests/moetrain/routers/routing_support.h"
#include "tests/support/gradient_check.h"

namespace moetrain {
namespace {

constexpr int64_t kMlpTokens = 11, kMlpWidth = 4, kMlpExperts = 5;

MoeConfig mlp_config() { return {.router = "mlp", .experts = kMlpExperts, .top_k = 2, .gate = "sum1"}; }

at::Tensor mlp_tokens() { return random_tensor("mlp tokens", {kMlpTokens, kMlpWidth}); }

TEST(Mlp, LogitsAreThoseOfTwoLayers) {
  for (const char* activation : {"tanh", "gelu"}) {
    MoeConfig config = mlp_config();
    config.own<MlpConfig>().activation = activation;
    const auto router = make_router(config, kMlpWidth);
    const auto parameters = router->named_parameters();
    ASSERT_EQ(parameters["hidden"].sizes(), (at::IntArrayRef{8 * kMlpExperts, kMlpWidth}));
    const at::Tensor inner = at::mm(mlp_tokens(), parameters["hidden"].t());
    const at::Tensor opened =
        activation == std::string("tanh") ? at::tanh(inner) : 0.5 * inner * (1 + at::erf(inner / std::sqrt(2.0)));
    const at::Tensor expected = at::mm(opened, parameters["weight"].t());
    EXPECT_TRUE(at::allclose(route_alone(*router, mlp_tokens()).logits_TE, expected, 1e-12, 1e-13)) << activation;
  }
}

TEST(Mlp, TheHiddenWidthIsAKey) {
  MoeConfig config = mlp_config();
  config.own<MlpConfig>().hidden = 3;
  EXPECT_EQ(make_router(config, kMlpWidth)->named_parameters()["hidden"].size(0), 3);
}

TEST(GatingResidual, AddsAProductWithTheLogitsOfTheLayerBefore) {
  MoeConfig config = mlp_config();
  const at::Tensor plain_TE = route_alone(*make_router(config, kMlpWidth), mlp_tokens()).logits_TE;
  config.gating_residual = true;
  const auto router = make_router(config, kMlpWidth, /*previous_experts=*/3);
  const at::Tensor weight_EP = router->named_parameters()["residual_weight"];
  ASSERT_EQ(weight_EP.sizes(), (at::IntArrayRef{kMlpExperts, 3}));
  EXPECT_NEAR(weight_EP.abs().mean().item<double>(), 0.016, 0.012);  // of a normal of deviation 0.02
  const at::Tensor previous_TP = random_tensor("previous logits", {kMlpTokens, 3});
  const RoutingDecision decision = route_alone(*router, mlp_tokens(), {.previous_logits_TE = previous_TP});
  EXPECT_TRUE(at::allclose(decision.logits_TE, plain_TE + at::mm(previous_TP, weight_EP.t()), 1e-12, 1e-13));
  EXPECT_TRUE(at::allclose(decision.probabilities_TE, at::softmax(decision.logits_TE, 1), 1e-12, 1e-13));
}

TEST(GatingResidual, GradientReachesTheLayerBefore) {
  MoeConfig config = mlp_config();
  config.gating_residual = true;
  const auto router = make_router(config, kMlpWidth, 3);
  const at::Tensor previous_TP = random_tensor("previous logits", {kMlpTokens, 3}).requires_grad_(true);
  const at::Tensor probe = random_tensor("probe", {kMlpTokens, 2});
  expect_gradients(
      [&] {
        return (route_alone(*router, mlp_tokens(), {.previous_logits_TE = previous_TP}).assignment.weight_TK * probe)
            .sum();
      },
      {previous_TP, router->named_parameters()["residual_weight"]});
}

TEST(GatingResidual, TheFirstLayerHasNoneAndOthersNeedTheLogits) {
  MoeConfig config = mlp_config();
  config.gating_residual = true;
  EXPECT_EQ(make_router(config, kMlpWidth)->named_parameters().size(), 2u);
  const auto router = make_router(config, kMlpWidth, kMlpExperts);
  EXPECT_THROW(route_alone(*router, mlp_tokens()), parallel::InternalError);
}

TEST(GatingResidual, ComposesWithOtherScores) {
  MoeConfig config{.router = "noisy_top_k", .experts = kMlpExperts, .top_k = 2, .gate = "sum1"};
  config.gating_residual = true;
  const at::Tensor previous_TP = random_tensor("previous logits", {kMlpTokens, 3});
  const auto router = make_router(config, kMlpWidth, 3);
  const RoutingDecision with = route_alone(*router, mlp_tokens(), {.previous_logits_TE = previous_TP});
  const RoutingDecision without = route_alone(*router, mlp_tokens(), {.previous_logits_TE = previous_TP * 0});
  EXPECT_FALSE(at::allclose(with.logits_TE, without.logits_TE));
  EXPECT_TRUE(at::allclose(with.logits_TE - without.logits_TE, with.clean_logits_TE - without.clean_logits_TE));
}

TEST(True1, NormalisesOverTheExpertsThatPutAnythingOut) {
  const at::Tensor score_TK = at::tensor({0.2, 0.3, 0.1, 0.4, 0.5, 0.25}, at::kDouble).view({3, 2});
  const at::Tensor true_TK = at::tensor({1, 1, 1, 0, 0, 0}, at::kLong).view({3, 2}).to(at::kBool);
  const at::Tensor weight_TK = gate_weights(Gate::kTrue1, score_TK, {at::ones_like(true_TK), true_TK});
  EXPECT_TRUE(at::allclose(weight_TK, at::tensor({0.4, 0.6, 1.0, 0.0, 0.0, 0.0}, at::kDouble).view({3, 2})));
}

TEST(True1, ZeroAndNullExpertsAreTheLastOnes) {
  MoeConfig config{.router = "top_k",
                   .experts = 2,
                   .top_k = 3,
                   .constant_experts = 1,
                   .copy_experts = 1,
                   .zero_experts = 1,
                   .null_experts = 2,
                   .gate = "true1"};
  const RoutingDecision decision = route_alone(*make_router(config, kMlpWidth), mlp_tokens());
  EXPECT_EQ(decision.logits_TE.size(1), 7);
  EXPECT_EQ(decision.assignment.num_experts, 7);
  for (int64_t t = 0; t < kMlpTokens; ++t) {
    double sum = 0;
    for (int64_t j = 0; j < 3; ++j) {
      const int64_t e = decision.chosen_TK[t][j].item<int64_t>();
      if (e < 4) sum += decision.probabilities_TE[t][e].item<double>();
    }
    for (int64_t j = 0; j < 3; ++j) {
      const int64_t e = decision.chosen_TK[t][j].item<int64_t>();
      const double expected = e < 4 ? decision.probabilities_TE[t][e].item<double>() / sum : 0.0;
      EXPECT_NEAR(decision.assignment.weight_TK[t][j].item<double>(), expected, 1e-14);
    }
  }
}

TEST(True1, WithoutNullExpertsItIsSum1) {
  MoeConfig config{.router = "top_k", .experts = 5, .top_k = 2, .gate = "true1"};
  const at::Tensor true1 = route_alone(*make_router(config, kMlpWidth), mlp_tokens()).assignment.weight_TK;
  config.gate = "sum1";
  EXPECT_TRUE(true1.equal(route_alone(*make_router(config, kMlpWidth), mlp_tokens()).assignment.weight_TK));
}

}  // namespace
}  // namespace moetrain
