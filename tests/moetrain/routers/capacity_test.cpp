#include "moetrain/routers/capacities/capacity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/ranking/ranking.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/dispatch/assignment.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

constexpr int64_t kTokens = 29, kChosenExperts = 5;

MoeConfig bounded(int64_t experts, int64_t top_k, double factor) {
  MoeConfig config{.experts = experts, .top_k = top_k};
  bound_experts(config, factor);
  return config;
}

CapacityRule rule_of(const MoeConfig& config) { return builtin_capacities().at(config.capacity); }

/// Of every expert, all being feed-forwards.
int64_t capacity_of(const MoeConfig& config, int64_t tokens) {
  const std::vector<int64_t> capacity_E = rule_of(config).capacities(config, tokens, config.own<BoundConfig>().factor);
  EXPECT_EQ(capacity_E, std::vector<int64_t>(static_cast<size_t>(config.experts), capacity_E[0]));
  return capacity_E[0];
}

/// Distinct choices of each token, skewed towards the first experts so that they overflow.
at::Tensor skewed_choices(int64_t top_k) {
  const at::Tensor skew = at::arange(kChosenExperts, at::kDouble) * -0.8;
  return largest_k(by_difference(random_tensor("choices", {kTokens, kChosenExperts}) + skew, at::kDouble), top_k);
}

/// GShard's rule written down directly: walk all first choices, then all second ones, in token order.
at::Tensor naive_drop(const at::Tensor& chosen_TK, int64_t experts, int64_t capacity) {
  at::Tensor kept = chosen_TK.clone();
  std::vector<int64_t> taken(static_cast<size_t>(experts), 0);
  for (int64_t j = 0; j < chosen_TK.size(1); ++j) {
    for (int64_t t = 0; t < chosen_TK.size(0); ++t) {
      const auto expert = static_cast<size_t>(chosen_TK[t][j].item<int64_t>());
      if (taken[expert] == capacity)
        kept[t][j] = parallel::Assignment::kDropped;
      else
        ++taken[expert];
    }
  }
  return kept;
}

/// Position and nothing else decides.
Choices with_probabilities(const at::Tensor& chosen_TK) {
  return {chosen_TK, at::ones({chosen_TK.size(0), chosen_TK.size(1)}, at::kDouble)};
}

CapacityOutcome on_one_rank(const at::Tensor& chosen_TK, const MoeConfig& config, bool training = true) {
  parallel::LocalCommunicator alone;
  return apply_capacity(with_probabilities(chosen_TK), config, rule_of(config), {{alone, chosen_TK.size(0), training}});
}

TEST(ExpertCapacity, IsTheCeilingOfTheFactorsShare) {
  EXPECT_EQ(capacity_of(bounded(8, 2, 1.0), 64), 16);
  EXPECT_EQ(capacity_of(bounded(8, 2, 1.25), 64), 20);
  EXPECT_EQ(capacity_of(bounded(8, 2, 1.0), 65), 17);    // 16.25
  EXPECT_EQ(capacity_of(bounded(8, 1, 1.25), 100), 16);  // 15.625
  EXPECT_EQ(capacity_of(bounded(3, 1, 1.0), 3), 1);
  EXPECT_EQ(capacity_of(bounded(64, 1, 0.5), 4), 1);  // at least one
  EXPECT_EQ(capacity_of(bounded(8, 2, 1.0), 0), 1);
  EXPECT_EQ(capacity_of(bounded(10, 1, 1.1), 100), 11);  // no rounding error makes it 12
}

TEST(Capacity, FirstChoicesComeBeforeSecondOnes) {
  // Two places an expert. Token 0's second choice of expert 1 comes after the first choices of tokens 1 and 2.
  const at::Tensor chosen = at::tensor({0, 1, 1, 0, 1, 2}, at::kLong).view({3, 2});
  const CapacityOutcome outcome = on_one_rank(chosen, bounded(3, 2, 1.0));
  EXPECT_TRUE(outcome.expert_TK.equal(at::tensor({0, -1, 1, 0, 1, 2}, at::kLong).view({3, 2})));
  EXPECT_EQ(outcome.dropped, 1);
  EXPECT_TRUE(outcome.global_choices_KE.sum(0).equal(at::tensor({2, 3, 1}, at::kLong)));  // before the drop
}

TEST(Capacity, LaterTokensAreDroppedFirst) {
  const CapacityOutcome outcome = on_one_rank(at::zeros({6, 1}, at::kLong), bounded(3, 1, 1.0));
  EXPECT_TRUE(outcome.expert_TK.flatten().equal(at::tensor({0, 0, -1, -1, -1, -1}, at::kLong)));
  EXPECT_EQ(outcome.dropped, 4);
}

TEST(Capacity, OneRankFollowsTheNaiveWalk) {
  for (const int64_t top_k : {1, 2, 3}) {
    for (const double factor : {0.3, 1.0, 1.25, 10.0}) {
      const MoeConfig config = bounded(kChosenExperts, top_k, factor);
      const at::Tensor chosen = skewed_choices(top_k);
      const CapacityOutcome outcome = on_one_rank(chosen, config);
      const at::Tensor expected = naive_drop(chosen, kChosenExperts, capacity_of(config, kTokens));
      EXPECT_TRUE(outcome.expert_TK.equal(expected)) << top_k << ", " << factor;
      EXPECT_EQ(outcome.dropped, (expected == parallel::Assignment::kDropped).sum().item<int64_t>());
    }
  }
}

TEST(Capacity, ShardedDecisionsEqualThoseOfOneRank) {
  int64_t dropped = 0;
  for (const auto& split : token_splits(kTokens, test_world()->size())) {
    for (const int64_t top_k : {1, 2, 3}) {
      const MoeConfig config = bounded(kChosenExperts, top_k, 0.9);
      const at::Tensor chosen = skewed_choices(top_k);
      const CapacityOutcome whole = on_one_rank(chosen, config);
      const CapacityOutcome here = apply_capacity(with_probabilities(shard_of(chosen, split)), config, rule_of(config),
                                                  {{*test_world(), kTokens, true}});
      EXPECT_TRUE(here.expert_TK.equal(shard_of(whole.expert_TK, split))) << split << ", top_k " << top_k;
      EXPECT_TRUE(here.global_choices_KE.equal(whole.global_choices_KE));
      EXPECT_EQ(sum_over_ranks(at::full({1}, here.dropped, at::kLong)).item<int64_t>(), whole.dropped);
      dropped += whole.dropped;
    }
  }
  EXPECT_GT(dropped, 0);
}

TEST(Capacity, EvaluationAndDroplessKeepEveryChoice) {
  for (const auto& split : token_splits(kTokens, test_world()->size())) {
    for (const bool training : {false, true}) {
      MoeConfig config = bounded(kChosenExperts, 2, 0.1);
      if (training) config.capacity = "dropless";
      const at::Tensor chosen = skewed_choices(2), mine = shard_of(chosen, split);
      const CapacityOutcome outcome =
          apply_capacity(with_probabilities(mine), config, rule_of(config), {{*test_world(), kTokens, training}});
      EXPECT_TRUE(outcome.expert_TK.equal(mine));
      EXPECT_EQ(outcome.dropped, 0);
      EXPECT_TRUE(outcome.global_choices_KE.sum(0).equal(at::bincount(chosen.flatten(), {}, kChosenExperts)));
    }
  }
}

TEST(ExpertCapacity, HasAMinimum) {
  MoeConfig config = bounded(8, 1, 1.0);
  config.own<BoundConfig>().minimum = 4;
  EXPECT_EQ(capacity_of(config, 16), 4);
  EXPECT_EQ(capacity_of(config, 80), 10);
}

TEST(ExpertCapacity, ByKindIsSmallerForFeedForwards) {
  // MoE++: gamma tau T k / (tau E_F + E_Z) and gamma T k / (tau E_F + E_Z), with tau E_F + E_Z = 0.5 * 4 + 3 = 5.
  MoeConfig config = bounded(4, 2, 1.1);
  config.capacity = "by_kind";
  config.own<ByKindConfig>().tau = 0.5;
  config.constant_experts = config.zero_experts = config.null_experts = 1;
  EXPECT_EQ(rule_of(config).capacities(config, 50, 1.1), (std::vector<int64_t>{11, 11, 11, 11, 22, 22, 22}));
  config.capacity = "factor";  // 1.1 * 100 / 7 = 15.7
  EXPECT_EQ(rule_of(config).capacities(config, 50, 1.1), std::vector<int64_t>(7, 16));
}

TEST(Capacity, ByKindDropsByEachExpertsOwnCapacity) {
  MoeConfig config = bounded(1, 1, 1.0);
  config.capacity = "by_kind";
  config.own<ByKindConfig>().tau = 0.5;
  config.zero_experts = 1;  // of 6 tokens: 2 and 4
  const at::Tensor chosen = at::tensor({0, 1, 0, 0, 0, 1}, at::kLong).view({6, 1});
  for (const char* drop : {"position", "probability"}) {
    config.own<BoundConfig>().drop = drop;
    EXPECT_TRUE(on_one_rank(chosen, config).expert_TK.flatten().equal(at::tensor({0, 1, 0, -1, -1, 1}, at::kLong)));
  }
}

TEST(Capacity, EvaluationHasAFactorOfItsOwn) {
  MoeConfig config = bounded(3, 1, 0.5);
  config.own<BoundConfig>().evaluation = 2.0;  // of 6 tokens: 4; in training 1
  const at::Tensor chosen = at::zeros({6, 1}, at::kLong);
  EXPECT_EQ(on_one_rank(chosen, config, /*training=*/false).dropped, 2);
  EXPECT_EQ(on_one_rank(chosen, config, /*training=*/true).dropped, 5);
}

TEST(Capacity, TheChoicesGivenAreNotChanged) {
  const at::Tensor chosen = skewed_choices(2), kept = chosen.clone();
  EXPECT_GT(on_one_rank(chosen, bounded(kChosenExperts, 2, 0.5)).dropped, 0);
  EXPECT_TRUE(chosen.equal(kept));
}

/// Pearson's.
double correlation(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a - a.mean(), y = b - b.mean();
  return ((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt()).item<double>();
}

/// Z-code M3 (Kim et al. 2021): by position late rows of a batch are those that an untrained top-1 router drops, all of
/// them; random token selection knows no place. Each expert keeps as many either way.
TEST(Capacity, RandomTokenSelectionKnowsNoPlace) {
  constexpr int64_t kBatch = 2048, kSteps = 16, kWide = 32;
  parallel::LocalCommunicator alone;
  MoeConfig config = bounded(8, 1, 1.0);
  std::vector<at::Tensor> dropped[2];
  for (int64_t step = 0; step < kSteps; ++step) {
    const at::Tensor tokens = random_tensor("rts tokens " + std::to_string(step), {kBatch, kWide});
    const at::Tensor router = random_tensor("rts router " + std::to_string(step), {kWide, 8});
    const at::Tensor chosen_TK = largest_k(by_difference(tokens.matmul(router), at::kDouble), 1);
    at::Tensor kept_E[2];
    for (const bool random : {false, true}) {
      config.own<BoundConfig>().drop = random ? "random" : "position";
      const BatchScope scope{
          .group = alone, .global_tokens = kBatch, .training = true, .draws = {.seed = 3, .step = step}};
      const CapacityOutcome outcome =
          apply_capacity(with_probabilities(chosen_TK), config, rule_of(config), {.scope = scope, .layer = 1});
      const at::Tensor gone_T = outcome.expert_TK.squeeze(1) < 0;
      kept_E[random] = at::bincount(outcome.expert_TK.masked_select(outcome.expert_TK >= 0), {}, 8);
      dropped[random].push_back(gone_T.to(at::kDouble));
    }
    EXPECT_TRUE(kept_E[0].equal(kept_E[1]));
    EXPECT_TRUE(kept_E[0].equal(at::bincount(chosen_TK.flatten(), {}, 8).clamp_max(kBatch / 8)));
  }
  const at::Tensor place = at::arange(kBatch, at::kDouble).repeat({kSteps});
  const at::Tensor by_position = at::cat(dropped[0]), by_lot = at::cat(dropped[1]);
  const auto half = [&](const at::Tensor& gone, int64_t which) {
    return gone.view({kSteps, 2, kBatch / 2}).select(1, which).mean().item<double>();
  };
  EXPECT_GT(correlation(by_position, place), 0.2);
  EXPECT_LT(half(by_position, 0), 0.02);
  EXPECT_GT(half(by_position, 1), 0.1);
  EXPECT_LT(std::abs(correlation(by_lot, place)), 0.02);
  EXPECT_NEAR(half(by_lot, 0), half(by_lot, 1), 0.02);
  EXPECT_NEAR(by_lot.mean().item<double>(), by_position.mean().item<double>(), 1e-15);
}

}  // namespace
}  // namespace moetrain
