#include "moetrain/attention/position_bias.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "moetrain/attention/attention.h"
#include "parallel/base/fault.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kHeads = 3, kBuckets = 8;
constexpr RelativeConfig kRelative{.buckets = kBuckets, .longest = 12};

/// With its table at random values, [B, H].
std::shared_ptr<PositionBias> bias_of(bool causal) {
  return std::make_shared<PositionBias>(ParameterSource(11, at::kDouble), kRelative, kHeads, causal, 1.0);
}

// As transformers' _relative_position_bucket gives them for 32 buckets up to 128.
TEST(DistanceBucket, IsT5s) {
  const RelativeConfig t5;
  const std::vector<std::pair<int64_t, int64_t>> causal = {{5, 0},     {0, 0},     {-1, 1},    {-15, 15}, {-16, 16},
                                                           {-18, 16},  {-19, 17},  {-31, 21},  {-64, 26}, {-112, 30},
                                                           {-113, 31}, {-128, 31}, {-9999, 31}};
  for (const auto& [offset, bucket] : causal) EXPECT_EQ(distance_bucket(t5, offset, true), bucket) << offset;
  const std::vector<std::pair<int64_t, int64_t>> both = {{0, 0},    {-1, 1},  {1, 17},   {-7, 7},    {7, 23},
                                                         {8, 24},   {-8, 8},  {-16, 10}, {16, 26},   {32, 28},
                                                         {-64, 14}, {64, 30}, {127, 31}, {9999, 31}, {-9999, 15}};
  for (const auto& [offset, bucket] : both) EXPECT_EQ(distance_bucket(t5, offset, false), bucket) << offset;
}

TEST(PositionBias, IsTheTableAtEachDistance) {
  for (const bool causal : {true, false}) {
    const auto bias = bias_of(causal);
    const at::Tensor table = bias->parameters().front();
    const at::Tensor of_all = bias->forward(6, 0);
    ASSERT_EQ(of_all.sizes(), (std::vector<int64_t>{1, kHeads, 6, 6}));
    for (int64_t query = 0; query < 6; ++query) {
      for (int64_t key = 0; key < 6; ++key) {
        const at::Tensor row = table[distance_bucket(kRelative, key - query, causal)];
        EXPECT_TRUE(of_all.select(2, query).select(2, key).squeeze(0).equal(row)) << query << ", " << key;
      }
    }
    EXPECT_TRUE(bias->forward(1, 5).equal(of_all.narrow(2, 5, 1)));  // the last place behind a cache
  }
}

/// Written out by hand: softmax(q k^T + bias) v, without a scale.
TEST(PositionBias, IsAddedToProductsThatNothingScales) {
  constexpr int64_t kWidth = 12, kLength = 5, kHead = 4;
  AttentionShape shape{.width = kWidth, .heads = kHeads, .kv_heads = kHeads, .rotary = false};
  shape.options.positions = "relative", shape.options.scaled = false;
  const auto bias = bias_of(true);
  const auto attention = make_self_attention(ParameterSource(12, at::kDouble), shape, 0.5, 0.5);
  const at::Tensor x = random_tensor("x", {kLength, kWidth});
  const Sequences one = Sequences::uniform(1, kLength, at::kCPU);
  const auto named = attention->named_parameters();
  const auto heads_of = [&](const char* name) {
    return at::mm(x, named[name].t()).view({kLength, kHeads, kHead}).transpose(0, 1);
  };
  const at::Tensor logits = at::matmul(heads_of("query.weight"), heads_of("key.weight").transpose(1, 2)) +
                            bias->forward(kLength, 0).squeeze(0);
  const at::Tensor later = at::ones({kLength, kLength}, at::kBool).triu(1);
  const at::Tensor share = logits.masked_fill(later, -1e300).softmax(2);
  const at::Tensor mixed = at::matmul(share, heads_of("value.weight")).transpose(0, 1).reshape({kLength, kWidth});
  const at::Tensor found = attention->forward(x, one, nullptr, {}, {}, bias->forward(kLength, 0));
  EXPECT_TRUE(at::allclose(found, at::mm(mixed, named["output.weight"].t()), 1e-12, 1e-13));
  std::vector<at::Tensor> parameters = attention->parameters();
  parameters.push_back(bias->parameters().front());
  const at::Tensor weight = random_tensor("w", {kLength, kWidth});
  expect_gradients(
      [&] { return (attention->forward(x, one, nullptr, {}, {}, bias->forward(kLength, 0)) * weight).sum(); },
      parameters, 2e-6, /*samples=*/8);
}

TEST(PositionBias, BucketsWithoutADistanceAreRefused) {
  AttentionConfig config;
  config.positions = "relative";
  const auto check = [&](int64_t buckets, int64_t longest) {
    config.own<RelativeConfig>() = {.buckets = buckets, .longest = longest};
    check_relative(config);
  };
  EXPECT_NO_THROW(check(4, 3));
  EXPECT_THROW(check(2, 128), parallel::UserError);
  EXPECT_THROW(check(7, 128), parallel::UserError);
  EXPECT_THROW(check(32, 16), parallel::UserError);
}

}  // namespace
}  // namespace moetrain
