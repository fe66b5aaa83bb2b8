#include "moetrain/routers/capacities/drop_rules.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/routers/capacities/capacity.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

MoeConfig dropping(const char* drop, int64_t experts, int64_t top_k, double factor) {
  MoeConfig config{.experts = experts, .top_k = top_k};
  bound_experts(config, factor, drop);
  return config;
}

BatchScope drop_scope(parallel::Communicator& group, int64_t tokens, int64_t first, int64_t step = 0) {
  return {.group = group, .global_tokens = tokens, .training = true, .first_token = first, .draws = {11, step}};
}

CapacityOutcome dropped_alone(const Choices& chosen, const MoeConfig& config, int64_t step = 0) {
  parallel::LocalCommunicator alone;
  const BatchScope scope = drop_scope(alone, chosen.expert_TK.size(0), 0, step);
  return apply_capacity(chosen, config, builtin_capacities().at("factor"), {scope});
}

TEST(DropByProbability, TheLeastProbableLeave) {
  // Two places an expert; expert 0 is wanted with 0.3, 0.9, 0.3, 0.8: the best two stay.
  const Choices chosen{at::tensor({0, 0, 0, 0, 1, 1}, at::kLong).view({6, 1}),
                       at::tensor({0.3, 0.9, 0.3, 0.8, 0.1, 0.2}, at::kDouble).view({6, 1})};
  const CapacityOutcome outcome = dropped_alone(chosen, dropping("probability", 3, 1, 1.0));
  EXPECT_TRUE(outcome.expert_TK.flatten().equal(at::tensor({-1, 0, -1, 0, 1, 1}, at::kLong)));
  EXPECT_EQ(outcome.dropped, 2);
  EXPECT_TRUE(outcome.global_choices_KE[0].equal(at::tensor({4, 2, 0}, at::kLong)));
}

TEST(DropByProbability, TiesFallToFirstChoicesThenToEarlierTokens) {
  const Choices chosen{at::tensor({1, 0, 0, 1, 0, 1}, at::kLong).view({3, 2}), at::full({3, 2}, 0.5, at::kDouble)};
  const CapacityOutcome outcome = dropped_alone(chosen, dropping("probability", 3, 2, 0.5));  // one place
  EXPECT_TRUE(outcome.expert_TK.equal(at::tensor({1, -1, 0, -1, -1, -1}, at::kLong).view({3, 2})));
}

TEST(DropAtRandom, KeepsTheCapacityAndSpreadsTheDropsOverTheBatch) {
  constexpr int64_t kMany = 2048;
  const Choices chosen{at::zeros({kMany, 1}, at::kLong), at::ones({kMany, 1}, at::kDouble)};
  const MoeConfig config = dropping("random", 4, 1, 2.0);  // room for half
  const at::Tensor kept_T = dropped_alone(chosen, config).expert_TK.flatten() == 0;
  EXPECT_EQ(kept_T.sum().item<int64_t>(), kMany / 2);
  // Hypergeometric: 512 of 1024 in each half, standard deviation 11.3.
  EXPECT_NEAR(kept_T.narrow(0, 0, kMany / 2).sum().item<double>(), 512, 46);
  EXPECT_FALSE(kept_T.equal(dropped_alone(chosen, config, /*step=*/1).expert_TK.flatten() == 0));
  EXPECT_TRUE(kept_T.equal(dropped_alone(chosen, config).expert_TK.flatten() == 0));
}

TEST(DropRules, ShardedDecisionsEqualThoseOfOneRank) {
  constexpr int64_t kRows = 29;
  const at::Tensor score_TE = random_tensor("drop scores", {kRows, 5}) - at::arange(5, at::kDouble) * 0.7;
  const auto sorted = at::sort(at::softmax(score_TE, 1), /*stable=*/true, 1, /*descending=*/true);
  for (const char* drop : {"position", "probability", "random"}) {
    for (const int64_t top_k : {1, 2, 3}) {
      const Choices chosen{std::get<1>(sorted).narrow(1, 0, top_k).contiguous(),
                           std::get<0>(sorted).narrow(1, 0, top_k).contiguous()};
      const MoeConfig config = dropping(drop, 5, top_k, 0.7);
      const CapacityOutcome whole = dropped_alone(chosen, config);
      EXPECT_GT(whole.dropped, 0);
      int64_t first = 0;
      for (const auto& split : token_splits(kRows, test_world()->size())) {
        first = 0;
        for (int64_t r = 0; r < test_world()->rank(); ++r) first += split[static_cast<size_t>(r)];
        const BatchScope scope = drop_scope(*test_world(), kRows, first);
        const CapacityOutcome here =
            apply_capacity({shard_of(chosen.expert_TK, split), shard_of(chosen.probability_TK, split)}, config,
                           builtin_capacities().at("factor"), {scope});
        EXPECT_TRUE(here.expert_TK.equal(shard_of(whole.expert_TK, split))) << drop << ", " << split;
        EXPECT_EQ(sum_over_ranks(at::full({1}, here.dropped, at::kLong)).item<int64_t>(), whole.dropped);
      }
    }
  }
}

}  // namespace
}  // namespace moetrain
