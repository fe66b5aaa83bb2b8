#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/losses/router_loss.h"
#include "moetrain/losses/routing_shares.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

/// A decision of the given logits in which `counts` choices fell on each expert.
RoutingDecision decision_of(const at::Tensor& logits_TE, std::vector<int64_t> counts, int64_t top_k) {
  RoutingDecision decision;
  decision.logits_TE = logits_TE;
  decision.probabilities_TE = at::softmax(logits_TE, 1);
  decision.assignment = {at::zeros({logits_TE.size(0), top_k}, at::kLong), {}, logits_TE.size(1)};
  decision.global_choices_E = at::tensor(counts, at::kLong);
  return decision;
}

BatchScope scope_of(int64_t tokens) {
  static parallel::LocalCommunicator alone;
  return {alone, tokens, true};
}

TEST(RouterZ, ByHand) {
  EXPECT_NEAR(router_z_share(decision_of(at::zeros({3, 4}, at::kDouble), {3, 0, 0, 0}, 1), scope_of(3)).item<double>(),
              std::pow(std::log(4.0), 2), 1e-14);
  const at::Tensor logits =
      at::tensor({std::log(2.0), std::log(6.0), std::log(0.5), std::log(0.5)}, at::kDouble).view({2, 2});
  // logsumexp: log 8 and log 1.
  EXPECT_NEAR(router_z_share(decision_of(logits, {1, 1}, 1), scope_of(2)).item<double>(),
              std::pow(std::log(8.0), 2) / 2, 1e-14);
}

TEST(RouterZ, LargeLogitsDoNotOverflow) {
  const at::Tensor logits = at::full({1, 2}, 1000.0, at::kFloat);
  EXPECT_NEAR(router_z_share(decision_of(logits, {1, 0}, 1), scope_of(1)).item<double>(),
              std::pow(1000 + std::log(2.0), 2), 1.0);
}

TEST(RouterEntropy, ByHandAndWithoutGradient) {
  const at::Tensor logits = at::tensor({0.0, 0.0, 200.0, 0.0}, at::kDouble).view({2, 2}).requires_grad_(true);
  const at::Tensor share = router_entropy_share(decision_of(logits, {1, 1}, 1), scope_of(2));
  EXPECT_NEAR(share.item<double>(), std::log(2.0) / 2, 1e-14);
  EXPECT_FALSE(share.requires_grad());
}

TEST(Importance, IsTheSquaredVariationOfTheSummedGates) {
  RoutingDecision decision = decision_of(at::zeros({3, 3}, at::kDouble), {3, 2, 1}, 2);
  decision.chosen_TK = at::tensor({0, 1, 0, 1, 0, 2}, at::kLong).view({3, 2});
  decision.gate_TK = at::tensor({0.5, 0.5, 0.75, 0.25, 1.0, 0.0}, at::kDouble).view({3, 2});
  // Sums 2.25, 0.75, 0: mean 1, unbiased variance (1.25^2 + 0.25^2 + 1) / 2.
  EXPECT_NEAR(importance_share(decision, scope_of(3)).item<double>(), (1.5625 + 0.0625 + 1.0) / 2, 1e-9);
}

TEST(Load, IsTheChanceOfBeingChosenUnderFreshNoise) {
  // One token, top-1 of 3: noisy logits 3, 1, 2. Thresholds: expert 0 must beat 2, the others must beat 3.
  RoutingDecision decision = decision_of(at::tensor({3.0, 1.0, 2.0}, at::kDouble).view({1, 3}), {1, 0, 0}, 1);
  decision.chosen_TK = at::zeros({1, 1}, at::kLong);
  decision.clean_logits_TE = at::tensor({2.5, 1.5, 2.0}, at::kDouble).view({1, 3});
  decision.noise_scale_TE = at::tensor({0.5, 1.0, 2.0}, at::kDouble).view({1, 3});
  const auto phi = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  const double load[] = {phi(1.0), phi(-1.5), phi(-0.5)}, mean = (load[0] + load[1] + load[2]) / 3;
  double variance = 0;
  for (const double each : load) variance += (each - mean) * (each - mean) / 2;
  EXPECT_NEAR(load_share(decision, scope_of(1)).item<double>(), variance / (mean * mean + 1e-10), 1e-12);
}

TEST(MutualInformation, ConfidentAndBalancedIsMinusLogE) {
  const at::Tensor sure = at::eye(4, at::kDouble) * 1000;
  EXPECT_NEAR(mutual_information_share(decision_of(sure, {1, 1, 1, 1}, 1), scope_of(4)).item<double>(), -std::log(4.0),
              1e-12);
  // Uniform everywhere, and all on one expert: the expert tells nothing of the token.
  for (const at::Tensor& logits : {at::zeros({4, 4}, at::kDouble), sure.narrow(0, 0, 1).expand({4, 4})}) {
    EXPECT_NEAR(mutual_information_share(decision_of(logits, {4, 0, 0, 0}, 1), scope_of(4)).item<double>(), 0, 1e-12);
  }
}

TEST(Concentration, IsTheEntropyOfTheMean) {
  const at::Tensor sure = at::eye(4, at::kDouble) * 1000;
  EXPECT_NEAR(concentration_share(decision_of(sure, {1, 1, 1, 1}, 1), scope_of(4)).item<double>(), std::log(4.0),
              1e-12);
  const at::Tensor one = sure.narrow(0, 0, 1).expand({4, 4});
  EXPECT_NEAR(concentration_share(decision_of(one, {4, 0, 0, 0}, 1), scope_of(4)).item<double>(), 0, 1e-12);
}

TEST(Entropy, ByHandWithGradient) {
  const at::Tensor logits = at::tensor({0.0, 0.0, 200.0, 0.0}, at::kDouble).view({2, 2}).requires_grad_(true);
  const at::Tensor share = entropy_share(decision_of(logits, {1, 1}, 1), scope_of(2));
  EXPECT_NEAR(share.item<double>(), std::log(2.0) / 2, 1e-14);
  EXPECT_TRUE(share.requires_grad());
}

LossTerms losses_of(const RoutingDecision& decision, const MoeConfig& config, const BatchScope& scope) {
  return router_losses(chosen_losses(config, builtin_losses()), decision, config, {scope});
}

TEST(RouterLosses, AWeightOfZeroIsOff) {
  MoeConfig config{.losses = {{"load_balance", 0}, {"router_z", 0}}};
  const RoutingDecision decision = decision_of(at::zeros({3, 4}, at::kDouble), {3, 0, 0, 0}, 1);
  EXPECT_TRUE(losses_of(decision, config, scope_of(3)).terms().empty());
  config.losses["entropy"] = 0.5;
  const LossTerms losses = losses_of(decision, config, scope_of(3));
  ASSERT_EQ(losses.terms().size(), 1u);
  EXPECT_EQ(losses.terms()[0].name, "entropy");
  EXPECT_NEAR(losses.terms()[0].share.item<double>(), 0.5 * std::log(4.0), 1e-14);
}

TEST(RouterLosses, WhatNothingIsSaidOfHasItsOwnWeight) {
  const std::vector<ChosenLoss> chosen = chosen_losses({}, builtin_losses());
  ASSERT_EQ(chosen.size(), 2u);
  EXPECT_EQ(chosen[0].name, "load_balance");
  EXPECT_EQ(chosen[0].weight, 0.01);
  EXPECT_EQ(chosen[1].name, "router_z");
  EXPECT_EQ(chosen[1].weight, 0.001);
}

TEST(RouterLosses, OneThatIsNotInTheTableIsRefused) {
  EXPECT_THROW(chosen_losses({.losses = {{"router_zz", 0.1}}}, builtin_losses()), parallel::UserError);
}

TEST(RouterLosses, OutsideOfItsWindowALossIsZeroAndKeepsItsName) {
  const MoeConfig config{.losses = {{"load_balance", 0}, {"router_z", {0.5, 10, 20}}}};
  const RoutingDecision decision = decision_of(at::zeros({3, 4}, at::kDouble), {3, 0, 0, 0}, 1);
  BatchScope scope = scope_of(3);
  for (const auto& [update, weight] : {std::pair{9, 0.0}, {10, 0.5}, {19, 0.5}, {20, 0.0}}) {
    scope.update = update;
    const LossTerms losses = losses_of(decision, config, scope);
    ASSERT_EQ(losses.terms().size(), 1u) << update;
    EXPECT_EQ(losses.terms()[0].name, "router_z");
    EXPECT_NEAR(losses.terms()[0].share.item<double>(), weight * std::pow(std::log(4.0), 2), 1e-14) << update;
  }
}

TEST(RouterLosses, SharesOfTheRanksAddUp) {
  const at::Tensor logits = random_tensor("logits", {19, 4});
  const std::vector<int64_t> counts{9, 5, 3, 2};
  const RoutingDecision whole = decision_of(logits, counts, 1);
  for (const auto& split : token_splits(19, test_world()->size())) {
    const RoutingDecision here = decision_of(shard_of(logits, split), counts, 1);
    for (const auto function : {&router_z_share, &router_entropy_share}) {
      const double sum = sum_over_ranks(function(here, scope_of(19))).item<double>();
      EXPECT_NEAR(sum, function(whole, scope_of(19)).item<double>(), 1e-13);
    }
  }
}

TEST(LossTerms, EqualNamesAreAddedUp) {
  const auto scalar = [](double value) { return at::full({}, value, at::kDouble); };
  LossTerms terms, other;
  terms.add("a", scalar(1));
  terms.add("b", scalar(2));
  terms.add("a", scalar(3));
  other.add("c", scalar(10));
  other.add("b", scalar(20));
  terms.add_all(other);
  ASSERT_EQ(terms.terms().size(), 3u);
  EXPECT_EQ(terms.terms()[0].name, "a");
  EXPECT_EQ(terms.terms()[0].share.item<double>(), 4);
  EXPECT_EQ(terms.terms()[1].share.item<double>(), 22);
  EXPECT_EQ(terms.terms()[2].name, "c");
  EXPECT_EQ(terms.sum().item<double>(), 36);
  EXPECT_THROW(LossTerms().sum(), parallel::InternalError);
}

TEST(LossTerms, DetachedOnesHaveNoGraph) {
  const at::Tensor x = at::ones({}, at::kDouble).requires_grad_(true);
  LossTerms terms;
  terms.add("a", x * 2);
  EXPECT_TRUE(terms.sum().requires_grad());
  EXPECT_FALSE(terms.detached().sum().requires_grad());
  EXPECT_EQ(terms.detached().sum().item<double>(), 2);
}

}  // namespace
}  // namespace moetrain
