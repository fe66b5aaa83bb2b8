#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "parallel/base/fault.h"
#include "tests/moetrain/routers/routing_support.h"

namespace moetrain {
namespace {

constexpr int64_t kDrawnExperts = 5, kDrawnWidth = 3, kDrawnTokens = 4000;

MoeConfig drawn_config(int64_t top_k, int64_t drawn) {
  MoeConfig config{.router = "moduleformer", .experts = kDrawnExperts, .top_k = top_k, .gate = "raw"};
  const RouterPreset preset = builtin_routers().at("moduleformer");
  for (auto& field : preset.keys(config.own_keys)) {
    if (std::string(field.key) == "drawn") *std::get<int64_t*>(field.value) = drawn;
    if (std::string(field.key) == "hidden") *std::get<int64_t*>(field.value) = 7;
  }
  return config;
}

/// Many tokens that are equal, so that their choices are a sample of one distribution.
at::Tensor equal_tokens() {
  return random_tensor("token", {1, kDrawnWidth}, 3).expand({kDrawnTokens, kDrawnWidth}).contiguous();
}

RoutingDecision decide(const MoeConfig& config, const at::Tensor& tokens_TD, bool training) {
  parallel::LocalCommunicator alone;
  const auto router = make_router(config, kDrawnWidth);
  const BatchScope scope{.group = alone, .global_tokens = tokens_TD.size(0), .training = training, .draws = {5, 2}};
  return router->forward(tokens_TD, {.scope = scope, .layer = 1});
}

TEST(ModuleFormerRouter, KeepsTheLargestAndDrawsTheRestByProbability) {
  const RoutingDecision decision = decide(drawn_config(3, 2), equal_tokens(), /*training=*/true);
  const at::Tensor p = decision.probabilities_TE[0];
  const int64_t first = p.argmax().item<int64_t>();
  std::map<std::pair<int64_t, int64_t>, double> seen;
  for (int64_t t = 0; t < kDrawnTokens; ++t) {
    ASSERT_EQ(decision.chosen_TK[t][0].item<int64_t>(), first);
    const auto second = decision.chosen_TK[t][1].item<int64_t>(), third = decision.chosen_TK[t][2].item<int64_t>();
    ASSERT_NE(second, first);
    ASSERT_NE(third, first);
    ASSERT_NE(second, third);
    seen[{second, third}] += 1.0 / kDrawnTokens;
  }
  const double left = 1 - p[first].item<double>();
  for (int64_t a = 0; a < kDrawnExperts; ++a) {
    for (int64_t b = 0; b < kDrawnExperts; ++b) {
      if (a == first || b == first || a == b) continue;
      const double pa = p[a].item<double>() / left, pb = p[b].item<double>() / left, expected = pa * pb / (1 - pa);
      const double deviation = std::sqrt(expected * (1 - expected) / kDrawnTokens);
      EXPECT_NEAR((seen[{a, b}]), expected, 5 * deviation + 1e-9) << a << b;
    }
  }
}

TEST(ModuleFormerRouter, DrawsNothingInEvaluationAndCanDrawAll) {
  const RoutingDecision decision = decide(drawn_config(2, 2), equal_tokens(), /*training=*/false);
  EXPECT_TRUE(decision.chosen_TK.eq(decision.chosen_TK[0]).all().item<bool>());
  EXPECT_EQ(decision.chosen_TK[0][0].item<int64_t>(), decision.probabilities_TE[0].argmax().item<int64_t>());
  const RoutingDecision drawn = decide(drawn_config(2, 2), equal_tokens(), /*training=*/true);
  const at::Tensor share_E =
      at::bincount(drawn.chosen_TK.select(1, 0), {}, kDrawnExperts).to(at::kDouble) / kDrawnTokens;
  EXPECT_LE((share_E - drawn.probabilities_TE[0]).abs().max().item<double>(), 0.04);
}

TEST(ModuleFormerRouter, MoreDrawnThanChosenIsTheUsersFault) {
  const MoeConfig config = drawn_config(2, 3);
  EXPECT_THROW(check_router(config, builtin_routers().at("moduleformer"), builtin_capacities().at("dropless")),
               parallel::UserError);
}

}  // namespace
}  // namespace moetrain
