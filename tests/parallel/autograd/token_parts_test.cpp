#include "parallel/autograd/token_parts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/world.h"

namespace parallel {
namespace {

/// Element (t, d) of the group's tokens: 10 t + d.
at::Tensor numbered(int64_t tokens, at::ScalarType type = at::kDouble) {
  return (at::arange(tokens, at::kDouble).unsqueeze(1) * 10 + at::arange(2, at::kDouble)).to(type);
}

TEST(TokenParts, AreContiguousAndAsEvenAsCanBe) {
  const auto world = test_world();
  const int64_t tokens = 7, rank = world->rank(), ranks = world->size();
  const TokenParts parts(*world, tokens);
  EXPECT_EQ(parts.ranks(), ranks);
  EXPECT_EQ(parts.first(), tokens * rank / ranks);
  const at::Tensor own = parts.own(at::arange(tokens));
  EXPECT_TRUE(own.equal(at::arange(tokens * rank / ranks, tokens * (rank + 1) / ranks, at::kLong)));
}

TEST(TokenParts, GatherGivesAllTokensAndSumsTheGradientsOfAllRanks) {
  const auto world = test_world();
  const auto ranks = static_cast<double>(world->size()), rank = static_cast<double>(world->rank());
  for (const int64_t tokens : {7, 1, 0}) {  // 1: most ranks have none
    const TokenParts parts(*world, tokens);
    const at::Tensor own = parts.own(numbered(tokens)).clone().requires_grad_(true);
    const at::Tensor all = parts.gather(own);
    EXPECT_TRUE(all.equal(numbered(tokens)));
    // Rank r's share is the sum of (r + 1) * (its place) * element.
    torch::autograd::backward({(all * numbered(tokens) * (rank + 1)).sum()}, {});
    EXPECT_TRUE(own.grad().equal(parts.own(numbered(tokens)) * (ranks * (ranks + 1) / 2)));
  }
}

TEST(TokenParts, SumAddsUpAndGathersTheGradients) {
  const auto world = test_world();
  const auto ranks = static_cast<double>(world->size()), rank = static_cast<double>(world->rank());
  for (const int64_t tokens : {7, 1, 0}) {
    const TokenParts parts(*world, tokens);
    const at::Tensor summand = (numbered(tokens) * (rank + 1)).requires_grad_(true);
    const at::Tensor own = parts.sum(summand);
    EXPECT_TRUE(own.equal(parts.own(numbered(tokens)) * (ranks * (ranks + 1) / 2)));
    // The share of a rank holds its tokens only; the gradient of each token comes from the rank that has it.
    torch::autograd::backward({(own * parts.own(numbered(tokens))).sum()}, {});
    EXPECT_TRUE(summand.grad().equal(numbered(tokens)));
  }
}

TEST(TokenParts, SumsOfBfloat16AreMadeInFloat32) {
  const auto world = test_world();
  if (world->size() == 1) return;
  // 256 + 1 is 256 in bfloat16: 1 + 1 + ... first, or with 256 in float32, is not the same as one after another.
  const TokenParts parts(*world, 4);
  const at::Tensor summand = at::full({4, 2}, world->rank() == 0 ? 256.0 : 1.5, at::kBFloat16);
  const at::Tensor own = parts.sum(summand);
  EXPECT_EQ(own.scalar_type(), at::kBFloat16);
  const double exact = 256 + 1.5 * static_cast<double>(world->size() - 1);
  EXPECT_TRUE(own.equal(at::full(own.sizes(), exact, at::kFloat).to(at::kBFloat16)));
}

TEST(TokenParts, WithoutGradientNothingIsRecorded) {
  const auto world = test_world();
  const TokenParts parts(*world, 5);
  EXPECT_FALSE(parts.gather(parts.own(numbered(5))).requires_grad());
  const at::NoGradGuard no_gradient;
  EXPECT_FALSE(parts.sum(numbered(5).requires_grad_(true)).requires_grad() && world->size() > 1);
}

TEST(TokenParts, AloneTheyAreTheTensorsThemselves) {
  const at::Tensor tokens = numbered(3);
  const TokenParts alone;
  EXPECT_TRUE(alone.gather(tokens).is_same(tokens));
  EXPECT_TRUE(alone.sum(tokens).is_same(tokens));
  EXPECT_TRUE(alone.own(tokens).is_same(tokens));
}

}  // namespace
}  // namespace parallel
