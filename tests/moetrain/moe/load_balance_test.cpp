#include "moetrain/losses/load_balance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

/// Chosen experts of the tokens of one micro-batch; -1 nowhere. Counts are those of `everyone`, all ranks' tokens.
RoutingDecision balance_decision(const at::Tensor& logits_TE, const at::Tensor& chosen_TK, const at::Tensor& everyone) {
  RoutingDecision decision;
  decision.logits_TE = logits_TE;
  decision.probabilities_TE = at::softmax(logits_TE, 1);
  decision.chosen_TK = chosen_TK;
  decision.assignment = {chosen_TK, {}, logits_TE.size(1)};
  decision.global_choices_E = at::bincount(everyone.flatten(), {}, logits_TE.size(1));
  decision.global_first_E = at::bincount(everyone.select(1, 0).contiguous(), {}, logits_TE.size(1));
  return decision;
}

RoutingDecision balance_decision(const at::Tensor& logits_TE, const at::Tensor& chosen_TK) {
  return balance_decision(logits_TE, chosen_TK, chosen_TK);
}

BatchScope balance_scope(int64_t tokens) {
  static parallel::LocalCommunicator alone;
  return {alone, tokens, true};
}

MoeConfig balanced(const LoadBalanceConfig& own, MoeConfig config = {}) {
  config.own<LoadBalanceConfig>() = own;
  return config;
}

double balance_of(const RoutingDecision& decision, const MoeConfig& config = {}) {
  const BatchScope scope = balance_scope(decision.logits_TE.size(0));
  return load_balance_share(decision, config, {scope}).item<double>();
}

at::Tensor column(std::vector<int64_t> experts) { return at::tensor(experts, at::kLong).unsqueeze(1); }

TEST(LoadBalance, IsOneAtAUniformRouter) {
  // Uniform probabilities give 1 whatever the ties chose: f sums to K.
  const at::Tensor even = at::tensor({0, 1, 2, 3, 1, 0, 3, 2}, at::kLong).view({4, 2});
  const at::Tensor odd = at::tensor({0, 1, 0, 1, 1, 0, 1, 0}, at::kLong).view({4, 2});
  for (const at::Tensor& chosen : {even, odd}) {
    EXPECT_DOUBLE_EQ(balance_of(balance_decision(at::zeros({4, 4}, at::kDouble), chosen)), 1.0);
  }
}

TEST(LoadBalance, IsTheNumberOfExpertsWhereAllGoToOne) {
  const at::Tensor logits = at::tensor({100.0, 0.0, 0.0, 0.0}, at::kDouble).expand({6, 4});
  EXPECT_NEAR(balance_of(balance_decision(logits, at::zeros({6, 1}, at::kLong))), 4.0, 1e-12);
}

TEST(LoadBalance, ByHand) {
  // p = (1/4, 3/4) and (1/2, 1/2): mean (3/8, 5/8); f = (1/2, 1/2) or (0, 1); times E / K = 2.
  const at::Tensor logits = at::tensor({0.0, std::log(3.0), 0.0, 0.0}, at::kDouble).view({2, 2});
  EXPECT_NEAR(balance_of(balance_decision(logits, column({0, 1}))), 1.0, 1e-15);
  EXPECT_NEAR(balance_of(balance_decision(logits, column({1, 1}))), 1.25, 1e-15);
}

TEST(LoadBalance, OfFirstChoicesCountsThemAlone) {
  const at::Tensor chosen = at::tensor({0, 1, 0, 2, 0, 3, 0, 1}, at::kLong).view({4, 2});
  RoutingDecision decision = balance_decision(at::zeros({4, 4}, at::kDouble), chosen);
  const MoeConfig first = balanced({.choices = "first"});
  EXPECT_DOUBLE_EQ(balance_of(decision, first), 1.0);
  decision.probabilities_TE = at::tensor({0.7, 0.1, 0.1, 0.1}, at::kDouble).expand({4, 4});
  EXPECT_NEAR(balance_of(decision, first), 4 * 0.7, 1e-14);
  EXPECT_NEAR(balance_of(decision), 2 * (0.7 * 1 + 0.1 * 1), 1e-14);
  EXPECT_NEAR(balance_of(decision, balanced({.per_choice = false})), 4 * (0.7 * 1 + 0.1 * 1), 1e-14);
}

TEST(LoadBalance, KindsHaveTheirWeightsAndNullsShareTheirMean) {
  // Experts: 1 feed-forward, 1 zero, 2 null. f = (2, 1, 3, 0) / 6; p = (0.4, 0.3, 0.2, 0.1).
  RoutingDecision decision = balance_decision(at::zeros({6, 4}, at::kDouble), column({0, 2, 1, 2, 0, 2}));
  decision.probabilities_TE = at::tensor({0.4, 0.3, 0.2, 0.1}, at::kDouble).expand({6, 4});
  const MoeConfig config{.experts = 1, .zero_experts = 1, .null_experts = 2};
  EXPECT_NEAR(balance_of(decision, config), 4 * (2 * 0.4 + 1 * 0.3 + 1.5 * 0.2 + 1.5 * 0.1) / 6, 1e-14);
  const MoeConfig weighted = balanced({.kind_weight = 0.75}, config);
  EXPECT_NEAR(balance_of(decision, weighted), 4 * (2 * 0.4 + 0.75 * (1 * 0.3 + 1.5 * 0.2 + 1.5 * 0.1)) / 6, 1e-14);
}

TEST(LoadBalance, OverTheGlobalBatchCountsTheEarlierMicroBatches) {
  const at::Tensor logits = at::tensor({0.0, std::log(3.0), 0.0, 0.0}, at::kDouble).view({2, 2});
  const RoutingDecision decision = balance_decision(logits, column({1, 1}));
  const MoeConfig config = balanced({.over = "global_batch"});
  BatchScope scope = balance_scope(2);
  const auto value = [&] { return load_balance_share(decision, config, {.scope = scope, .layer = 1}).item<double>(); };
  EXPECT_NEAR(value(), 1.25, 1e-15);                            // the first micro-batch
  scope.earlier_choices = {{}, at::tensor({5, 3}, at::kLong)};  // 8 tokens; f = (5, 5) / 10
  EXPECT_NEAR(value(), 2 * (0.5 * 3.0 / 8 + 0.5 * 5.0 / 8), 1e-15);
  scope.earlier_choices = {at::tensor({5, 3}, at::kLong)};  // of another block
  EXPECT_NEAR(value(), 1.25, 1e-15);
}

/// 14 tokens in sequences of 3, 6 and 5, so that splits cut through them.
struct SequenceCase {
  at::Tensor logits = random_tensor("balance logits", {14, 5});
  at::Tensor chosen = std::get<1>(logits.topk(2, 1));
  at::Tensor sequence_T = at::tensor({0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2}, at::kLong);
  MoeConfig config = balanced({.over = "sequence", .kind_weight = 0.5}, {.experts = 4, .null_experts = 1});

  at::Tensor share(const std::vector<int64_t>& split, const at::Tensor& logits_TE) const {
    BatchScope scope{.group = *test_world(), .global_tokens = 14, .training = true};
    scope.global_sequences = 3;
    scope.sequence_T = shard_of(sequence_T, split);
    return load_balance_share(balance_decision(logits_TE, shard_of(chosen, split), chosen), config, {scope});
  }
};

TEST(LoadBalance, WithinSequencesIsTheMeanOverThem) {
  const SequenceCase each;
  const at::Tensor p_TE = at::softmax(each.logits, 1);
  double expected = 0;
  for (const auto& [begin, length] : {std::pair{0, 3}, {3, 6}, {9, 5}}) {
    for (int64_t e = 0; e < 5; ++e) {
      double count = 0, probability = 0;
      for (int64_t t = begin; t < begin + length; ++t) {
        probability += p_TE[t][e].item<double>() / length;
        for (int64_t j = 0; j < 2; ++j) count += each.chosen[t][j].item<int64_t>() == e;
      }
      expected += (e == 4 ? 0.5 : 1.0) * 5 / 2.0 * count / length * probability / 3;
    }
  }
  for (const auto& split : token_splits(14, test_world()->size())) {
    const at::Tensor share = each.share(split, shard_of(each.logits, split));
    EXPECT_NEAR(sum_over_ranks(share).item<double>(), expected, 1e-14);
  }
}

TEST(LoadBalance, WithinSequencesHasTheGradientOfItsProbabilities) {
  if (test_world()->size() > 1) return;
  const SequenceCase each;
  const at::Tensor logits = each.logits.clone().requires_grad_(true);
  expect_gradients([&] { return each.share({14}, logits); }, {logits});
}

}  // namespace
}  // namespace moetrain
