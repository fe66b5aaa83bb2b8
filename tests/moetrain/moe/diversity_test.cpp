#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/losses/router_loss.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

/// Of probabilities given as they are, this rank's of `global_tokens`.
at::Tensor diversity_of(const at::Tensor& probabilities_TE, int64_t global_tokens) {
  RoutingDecision decision;
  decision.probabilities_TE = probabilities_TE;
  const BatchScope scope{.group = *test_world(), .global_tokens = global_tokens, .training = true};
  return sum_over_ranks(builtin_losses().at("diversity").share(decision, {}, {.scope = scope}));
}

TEST(Diversity, IsTheDivergenceOfTheMeanFromEven) {
  const at::Tensor sure_TE = at::eye(4, at::kDouble), one_TE = sure_TE.narrow(0, 0, 1).expand({4, 4});
  // Means over all ranks' tokens: even; one expert; (3/4, 1/4, 0, 0).
  const auto on_every_rank = [](const at::Tensor& p_TE) {
    return diversity_of(p_TE, p_TE.size(0) * test_world()->size()).item<double>();
  };
  EXPECT_NEAR(on_every_rank(sure_TE), 0, 1e-14);
  EXPECT_NEAR(on_every_rank(one_TE), std::log(4.0), 1e-14);
  const at::Tensor uneven_TE = sure_TE.index_select(0, at::tensor({0, 0, 0, 1}, at::kLong));
  EXPECT_NEAR(on_every_rank(uneven_TE), 0.75 * std::log(3.0), 1e-14);  // and 1/4 ln 1
}

TEST(Diversity, IsOfTheMeanOverAllRanks) {
  const at::Tensor p_TE = at::softmax(random_tensor("diversity logits", {19, 5}), 1), mean_E = p_TE.mean(0);
  const double expected = (mean_E * (5 * mean_E).log()).sum().item<double>();
  for (const auto& split : token_splits(19, test_world()->size())) {
    EXPECT_NEAR(diversity_of(shard_of(p_TE, split), 19).item<double>(), expected, 1e-14);
  }
}

}  // namespace
}  // namespace moetrain
