// Choices that are handed to a router are taken as they are, and everything around them is the router's own.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/moetrain/routers/routing_support.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/gradient_check.h"
#include "tests/support/recording_communicator.h"

namespace moetrain {
namespace {

constexpr int64_t kRoutedTokens = 7, kRoutedWidth = 4;

MoeConfig injected_config(const std::string& router) {
  MoeConfig config{.router = router, .experts = 5, .top_k = 2};
  if (router == "gshard") config.gate = "sum1_kept";
  if (router == "sinkhorn" || router == "expert_choice") config.gate = "raw";
  bound_experts(config, 1.25, router == "expert_choice" ? "probability" : "position");
  return config;
}

RoutingDecision route_with(Router& router, const at::Tensor& tokens_TD, const RoutingChoices* injected,
                           parallel::Communicator& group) {
  const BatchScope scope{group, kRoutedTokens, /*training=*/true};
  return router.forward(tokens_TD, {.scope = scope, .layer = 1, .injected = injected});
}

class InjectedChoices : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<Router> router_ = make_router(injected_config(GetParam()), kRoutedWidth);
  at::Tensor tokens_ = random_tensor("tokens", {kRoutedTokens, kRoutedWidth}).requires_grad_(true);
  parallel::LocalCommunicator alone_;
};

TEST_P(InjectedChoices, OfItsOwnGiveTheSameDecision) {
  const RoutingDecision selected = route_with(*router_, tokens_, nullptr, alone_);
  const RoutingChoices choices = choices_of(selected);
  RoutingDecision again = route_with(*router_, tokens_, &choices, alone_), first = selected;
  const auto expected = differentiable(first), found = differentiable(again);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(found[i]->defined(), expected[i]->defined()) << i;
    if (!expected[i]->defined()) continue;
    EXPECT_TRUE(found[i]->equal(*expected[i])) << i;
  }
  EXPECT_TRUE(again.chosen_TK.equal(selected.chosen_TK));
  EXPECT_TRUE(again.assignment.expert_TK.equal(selected.assignment.expert_TK));
  EXPECT_TRUE(again.global_choices_E.equal(selected.global_choices_E));
  EXPECT_TRUE(again.global_first_E.equal(selected.global_first_E));
  EXPECT_EQ(again.dropped, selected.dropped);
}

// The choices of other tokens: none that the router would have made.
TEST_P(InjectedChoices, OfAnotherAreTakenAndWeighedByTheScores) {
  RoutingChoices choices = choices_of(route_with(*router_, tokens_, nullptr, alone_));
  choices.chosen_TK = (choices.chosen_TK + 1).remainder(5);
  choices.expert_TK = choices.chosen_TK.clone();
  choices.expert_TK[3][0] = parallel::Assignment::kDropped;
  choices.dropped = 1;
  const RoutingDecision decision = route_with(*router_, tokens_, &choices, alone_);
  EXPECT_TRUE(decision.assignment.expert_TK.equal(choices.expert_TK));
  EXPECT_EQ(decision.dropped, 1);
  const at::Tensor probe = random_tensor("probe", decision.gate_TK.sizes());
  std::vector<at::Tensor> leaves = router_->parameters();
  leaves.push_back(tokens_);
  expect_gradients([&] { return (route_with(*router_, tokens_, &choices, alone_).assignment.weight_TK * probe).sum(); },
                   leaves);
}

TEST_P(InjectedChoices, NeedNoOtherRank) {
  RecordingCommunicator group(std::make_shared<parallel::LocalCommunicator>());
  const RoutingChoices choices = choices_of(route_with(*router_, tokens_, nullptr, group));
  EXPECT_FALSE(group.operations().empty());
  group.forget();
  route_with(*router_, tokens_, &choices, group);
  EXPECT_TRUE(group.operations().empty());
}

INSTANTIATE_TEST_SUITE_P(All, InjectedChoices,
                         testing::Values("top_k", "gshard", "noisy_top_k", "sigmoid_bias", "sinkhorn",
                                         "expert_choice"));

}  // namespace
}  // namespace moetrain
