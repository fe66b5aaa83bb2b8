#include <gtest/gtest.h>

#include <cmath>

#include "parallel/base/fault.h"
#include "tests/moetrain/routers/routing_support.h"
#include "tests/support/bounded_experts.h"

namespace moetrain {
namespace {

constexpr int64_t kTopPTokens = 40, kTopPExperts = 6, kTopPWidth = 4;

MoeConfig top_p_config(double mass, int64_t top_k = 4, const char* gate = "raw") {
  MoeConfig config{.router = "top_p", .experts = kTopPExperts, .top_k = top_k, .gate = gate};
  *std::get<double*>(builtin_routers().at("top_p").keys(config.own_keys).at(0).value) = mass;
  return config;
}

at::Tensor top_p_tokens() { return 2 * random_tensor("tokens", {kTopPTokens, kTopPWidth}); }

TEST(TopPRouter, TakesWhatReachesTheMassByPlainLoops) {
  std::vector<int64_t> tokens_with(5, 0);
  for (const double mass : {0.3, 0.6, 0.9, 0.99}) {
    const auto router = make_router(top_p_config(mass), kTopPWidth);
    const RoutingDecision decision = route_alone(*router, top_p_tokens());
    for (int64_t t = 0; t < kTopPTokens; ++t) {
      double before = 0;
      int64_t taken = 0;
      const at::Tensor sorted = std::get<0>(decision.probabilities_TE[t].sort(0, /*descending=*/true));
      for (int64_t j = 0; j < 4; ++j) {
        const auto expert = decision.chosen_TK[t][j].item<int64_t>();
        const double weight = decision.assignment.weight_TK[t][j].item<double>();
        const double p = sorted[j].item<double>();
        if (before < mass) {
          ASSERT_GE(expert, 0) << "token " << t << ", choice " << j << ", mass " << mass;
          EXPECT_EQ(decision.probabilities_TE[t][expert].item<double>(), p);
          EXPECT_EQ(weight, p);
          ++taken;
        } else {
          EXPECT_EQ(expert, parallel::Assignment::kDropped);
          EXPECT_EQ(weight, 0);
        }
        before += p;
      }
      ++tokens_with[static_cast<size_t>(taken)];
    }
    EXPECT_TRUE(decision.assignment.expert_TK.equal(decision.chosen_TK));
    EXPECT_EQ(decision.global_choices_E.sum().item<int64_t>(), (decision.chosen_TK >= 0).sum().item<int64_t>());
    EXPECT_EQ(decision.dropped, 0);
  }
  for (size_t taken = 1; taken < tokens_with.size(); ++taken) EXPECT_GT(tokens_with[taken], 3) << taken;
}

TEST(TopPRouter, ASumThatIsTheMassHasReachedItHoweverItIsRounded) {
  const auto router = make_router(top_p_config(0.5), kTopPWidth);
  const at::NoGradGuard no_gradient;
  router->named_parameters()["weight"].zero_();  // 1/6 each: three are 0.5
  const RoutingDecision decision = route_alone(*router, top_p_tokens());
  EXPECT_TRUE((decision.chosen_TK >= 0).sum(1).eq(3).all().item<bool>()) << decision.chosen_TK;
}

TEST(TopPRouter, GatesThatSumToOneDoSoOverWhatIsTaken) {
  const auto router = make_router(top_p_config(0.6, 4, "sum1"), kTopPWidth);
  const RoutingDecision decision = route_alone(*router, top_p_tokens());
  EXPECT_TRUE(at::allclose(decision.assignment.weight_TK.sum(1), at::ones({kTopPTokens}, at::kDouble), 0, 1e-14));
}

TEST(TopPRouter, NoChoiceTakesNoPlaceInAnExpert) {
  MoeConfig config = top_p_config(0.6);
  bound_experts(config, 0.5);  // ceil(0.5 * 4 * 40 / 6) = 14 tokens
  for (const char* drop : {"position", "probability", "random"}) {
    config.own<BoundConfig>().drop = drop;
    const RoutingDecision decision = route_alone(*make_router(config, kTopPWidth), top_p_tokens());
    const at::Tensor& kept = decision.assignment.expert_TK;
    const at::Tensor held = at::bincount(kept.masked_select(kept >= 0), {}, kTopPExperts);
    EXPECT_TRUE(held.equal(decision.global_choices_E.clamp_max(14))) << drop << held;
    EXPECT_EQ(decision.dropped, (decision.global_choices_E.sum() - held.sum()).item<int64_t>()) << drop;
    EXPECT_GT(decision.dropped, 0) << drop;
  }
}

TEST(TopPRouter, OneExpertAtMostIsRefused) {
  EXPECT_THROW(check_router(top_p_config(0.4, 1), builtin_routers().at("top_p"), {}), parallel::UserError);
  EXPECT_NO_THROW(check_router(top_p_config(0.4, 2), builtin_routers().at("top_p"), {}));
}

}  // namespace
}  // namespace moetrain
