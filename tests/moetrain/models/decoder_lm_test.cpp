#include "moetrain/models/decoder_lm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "moetrain/objectives/objective.h"
#include "tests/moetrain/models/small_model.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/gradient_check.h"

namespace moetrain {
namespace {

/// Sequences of one length, and what follows each token.
struct TokenTargets {
  at::Tensor tokens_SL, targets_SL;
  Batch batch() const { return {{.tokens = TokenSide::whole(tokens_SL)}, targets_SL.flatten()}; }
};

TokenTargets batch_of(int64_t sequences, int64_t length) {
  TokenTargets batch{random_tokens(sequences, length), random_tokens(sequences, length, "targets")};
  if (batch.targets_SL.numel() > 3) batch.targets_SL.flatten()[3] = OutputHead::kIgnored;
  return batch;
}

TokenTargets sequences_of(const TokenTargets& batch, int64_t first, int64_t count) {
  return {batch.tokens_SL.narrow(0, first, count), batch.targets_SL.narrow(0, first, count)};
}

int64_t counted(const TokenTargets& batch) { return (batch.targets_SL != OutputHead::kIgnored).sum().item<int64_t>(); }

ObjectiveOutput objective_of(DecoderLm& model, const TokenTargets& batch, const UpdateScale& scale,
                             bool training = true) {
  parallel::LocalCommunicator alone;
  const ObjectiveConfig config;
  return next_token()
      .make({config, nullptr})
      ->forward(model, batch.batch(), {.group = alone, .training = training}, scale);
}

std::vector<at::Tensor> take_gradients(DecoderLm& model) {
  std::vector<at::Tensor> gradients;
  for (at::Tensor parameter : model.parameters()) {
    gradients.push_back(parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter));
    parameter.mutable_grad() = at::Tensor();
  }
  return gradients;
}

std::vector<int64_t> moe_blocks(const ModelOutput& output) {
  std::vector<int64_t> blocks;
  for (const LayerRouting& routing : output.routing) blocks.push_back(routing.site.block);
  return blocks;
}

void expect_whole_model_gradient(const ModelConfig& config, const MoeConfig& moe) {
  const auto model = model_of(config, moe);
  const TokenTargets batch = batch_of(2, 3);
  const auto loss = [&] { return objective_of(*model, batch, {counted(batch), 1}).losses.sum(); };
  expect_gradients(loss, model->parameters(), 2e-6, /*samples=*/3);
}

TEST(DecoderLm, GradientEqualsFiniteDifferences) {
  expect_whole_model_gradient(small_config(), small_moe("all"));
  expect_whole_model_gradient(small_config(/*tied=*/false), small_moe("odd"));
}

TEST(DecoderLm, GradientEqualsFiniteDifferencesWithGeluLayerNormAndCapacity) {
  ModelConfig config = small_config();
  config.activation = "gelu";
  config.norm = "layer";
  MoeConfig moe = small_moe("even");
  bound_experts(moe, 0.7);
  expect_whole_model_gradient(config, moe);
}

TEST(DecoderLm, LaterTokensDoNotReachBack) {
  const at::NoGradGuard no_gradient;
  for (const char* layers : {"none", "odd", "all"}) {
    const auto model = model_of(small_config(), small_moe(layers));
    const at::Tensor tokens = random_tokens(2, 6);
    at::Tensor changed = tokens.clone();
    changed[0][4] = (changed[0][4] + 1).remainder(kVocabulary);
    const at::Tensor before = run_alone(*model, tokens, false).hidden_TD,
                     after = run_alone(*model, changed, false).hidden_TD;
    EXPECT_TRUE(at::allclose(before.narrow(0, 0, 4), after.narrow(0, 0, 4), 1e-13, 1e-14)) << layers;
    EXPECT_FALSE(at::allclose(before[5], after[5], 1e-4, 1e-4)) << layers;
    EXPECT_TRUE(at::allclose(before.narrow(0, 6, 6), after.narrow(0, 6, 6), 1e-13, 1e-14)) << layers;
  }
}

TEST(DecoderLm, BlocksWithExpertsAreThoseOfTheConfig) {
  for (const auto& [layers, blocks] : std::vector<std::pair<const char*, std::vector<int64_t>>>{
           {"none", {}}, {"all", {0, 1, 2}}, {"odd", {1}}, {"even", {0, 2}}, {"2", {2}}}) {
    ModelConfig config = small_config();
    config.layers = 3;
    const auto model = model_of(config, small_moe(layers));
    const ModelOutput output = run_alone(*model, random_tokens(2, 3), true);
    EXPECT_EQ(moe_blocks(output), blocks) << layers;
    EXPECT_EQ(output.losses.terms().size(), blocks.empty() ? 0u : 2u) << layers;
    for (int64_t block = 0; block < 3; ++block) {
      const bool with_experts = std::count(blocks.begin(), blocks.end(), block) == 1;
      const std::string prefix = "blocks." + std::to_string(block);
      EXPECT_EQ(model->named_parameters().contains(prefix + ".moe.experts.up"), with_experts) << layers << block;
      EXPECT_EQ(model->named_parameters().contains(prefix + ".feed_forward.up.weight"), !with_experts)
          << layers << block;
    }
  }
}

TEST(DecoderLm, LossesOfTheLayersAreSums) {
  ModelConfig config = small_config();
  const auto model = model_of(config, small_moe("all"));
  const at::Tensor tokens = random_tokens(2, 5);
  const ModelOutput output = run_alone(*model, tokens, true);
  double balance = 0, z = 0;
  for (const LayerRouting& routing : output.routing) {
    const at::Tensor p_E = at::softmax(routing.decision.logits_TE, 1).mean(0);
    balance += 0.5 * (p_E * routing.decision.global_choices_E).sum().item<double>() * 4 / 2 / 10;
    z += 0.2 * at::logsumexp(routing.decision.logits_TE, 1).square().mean().item<double>();
  }
  EXPECT_NEAR(output.losses.terms()[0].share.item<double>(), balance, 1e-12);
  EXPECT_NEAR(output.losses.terms()[1].share.item<double>(), z, 1e-12);
  EXPECT_TRUE(run_alone(*model, tokens, false).losses.terms().empty());
}

// attention: 8x8 query, 4x8 key and value, 8x8 output; norms 8 each; dense 3 x 8 x 10; an expert 3 x 8 x 6, the router
// 4 x 8, the shared expert 3 x 8 x 3 and its gate 8; embedding 11 x 8.
TEST(DecoderLm, ParameterCountByHand) {
  constexpr int64_t kAttention = 64 + 32 + 32 + 64, kNorms = 16, kDense = 240, kExpert = 144, kAlways = 32 + 72 + 8;
  constexpr int64_t kRest = 88 + 8;
  const auto count = [](bool tied, const char* layers) {
    return model_of(small_config(tied), small_moe(layers))->parameter_count();
  };
  EXPECT_EQ(count(true, "none").total, kRest + 2 * (kAttention + kNorms + kDense));
  EXPECT_EQ(count(true, "none").active, count(true, "none").total);
  EXPECT_EQ(count(false, "none").total, count(true, "none").total + 88);
  EXPECT_EQ(count(true, "all").total, kRest + 2 * (kAttention + kNorms + kAlways + 4 * kExpert));
  EXPECT_EQ(count(true, "all").active, kRest + 2 * (kAttention + kNorms + kAlways + 2 * kExpert));
  EXPECT_EQ(count(true, "odd").total, kRest + 2 * (kAttention + kNorms) + kDense + kAlways + 4 * kExpert);
  EXPECT_EQ(count(true, "odd").active, kRest + 2 * (kAttention + kNorms) + kDense + kAlways + 2 * kExpert);
}

// Beside what is above: an expert more has 144 and a row of 8 in the router; top_k is 2 everywhere.
TEST(DecoderLm, PyramidGivesEachBlockItsExperts) {
  MoeConfig pyramid = small_moe();
  pyramid.experts_by_layer = {3, 9};
  const auto model = model_of(small_config(), pyramid), even = model_of(small_config(), small_moe());
  EXPECT_EQ(model->named_parameters()["blocks.0.moe.experts.up"].size(0), 3);
  EXPECT_EQ(model->named_parameters()["blocks.1.moe.experts.up"].size(0), 9);
  EXPECT_EQ(model->named_parameters()["blocks.1.moe.router.weight"].size(0), 9);
  EXPECT_EQ(model->parameter_count().total, even->parameter_count().total + (12 - 8) * (144 + 8));
  EXPECT_EQ(model->parameter_count().active, even->parameter_count().active + (12 - 8) * 8);
  const ModelOutput output = run_alone(*model, random_tokens(2, 5), true);
  EXPECT_EQ(output.routing[0].decision.global_choices_E.numel(), 3);
  EXPECT_EQ(output.routing[1].decision.global_choices_E.numel(), 9);
}

TEST(DecoderLm, TiedHeadSharesTheEmbedding) {
  const auto tied = model_of(small_config(true), small_moe()), untied = model_of(small_config(false), small_moe());
  EXPECT_FALSE(tied->named_parameters().contains("head.weight"));
  ASSERT_TRUE(untied->named_parameters().contains("head.weight"));
  const at::NoGradGuard no_gradient;
  const at::Tensor hidden = at::ones({1, 8}, at::kDouble);
  for (const auto& [model, name] : {std::pair{tied, "embedding.weight"}, std::pair{untied, "head.weight"}}) {
    at::Tensor weight = model->named_parameters()[name];
    EXPECT_TRUE(at::allclose(model->head().logits(hidden), weight.sum(1).unsqueeze(0), 1e-13, 1e-14)) << name;
    weight.mul_(2);  // an update in place reaches the head
    EXPECT_TRUE(at::allclose(model->head().logits(hidden), weight.sum(1).unsqueeze(0), 1e-13, 1e-14)) << name;
  }
}

TEST(DecoderLm, ResidualOutputsAreBornSmaller) {
  ModelConfig config = small_config();
  config.width = 64;
  config.ffn_hidden = 200;
  config.layers = 8;
  const auto parameters = model_of(config, small_moe("none"))->named_parameters();
  const auto spread = [&](const std::string& name) { return parameters[name].std().item<double>(); };
  EXPECT_NEAR(spread("blocks.1.attention.query.weight"), 0.4, 0.02);
  EXPECT_NEAR(spread("blocks.1.attention.output.weight"), 0.1, 0.005);  // 0.4 / sqrt(2 * 8)
  EXPECT_NEAR(spread("blocks.1.feed_forward.down.weight"), 0.1, 0.005);
}

TEST(DecoderLm, NoSequencesGiveNoHiddenStatesAndZeroGradients) {
  const auto model = model_of(small_config(), small_moe());
  parallel::LocalCommunicator alone;
  const TokenTargets none{at::empty({0, 5}, at::kLong), at::empty({0, 5}, at::kLong)};
  Batch batch = none.batch();
  batch.inputs.tokens.global_tokens = 10;
  const ObjectiveConfig config;
  const ObjectiveOutput output =
      next_token().make({config, nullptr})->forward(*model, batch, {.group = alone, .training = true}, {7, 1});
  EXPECT_EQ(output.losses.sum().item<double>(), 0.0);
  torch::autograd::backward({output.losses.sum()}, {});
  for (const at::Tensor& gradient : take_gradients(*model)) EXPECT_TRUE(gradient.equal(at::zeros_like(gradient)));
}

TEST(NextToken, IsTheMeanOverCountedTargets) {
  const auto model = model_of(small_config(), small_moe());
  const TokenTargets batch = batch_of(2, 4);
  const ObjectiveOutput output = objective_of(*model, batch, {counted(batch), 1}, /*training=*/false);
  const at::NoGradGuard no_gradient;
  const at::Tensor log_p =
      at::log_softmax(model->head().logits(run_alone(*model, batch.tokens_SL, false).hidden_TD), 1);
  double sum = 0;
  for (int64_t t = 0; t < 8; ++t) {
    if (t != 3) sum -= log_p[t][batch.targets_SL.flatten()[t].item<int64_t>()].item<double>();
  }
  ASSERT_EQ(output.losses.terms().size(), 1u);
  EXPECT_EQ(output.losses.terms()[0].name, "next_token");
  EXPECT_NEAR(output.losses.sum().item<double>(), sum / 7, 1e-13);
  EXPECT_NEAR(output.nll_T.sum().item<double>(), sum, 1e-12);
}

// The z-loss is a mean over tokens, so that equal micro-batches change nothing; the balance loss is not linear: off.
TEST(NextToken, MicroBatchesGiveTheSameGradientAsTheWhole) {
  MoeConfig moe = small_moe();
  moe.losses["load_balance"] = 0;
  const auto model = model_of(small_config(), moe);
  const TokenTargets batch = batch_of(4, 5);
  const int64_t targets = counted(batch);
  const at::Tensor whole = objective_of(*model, batch, {targets, 1}).losses.sum();
  torch::autograd::backward({whole}, {});
  const auto expected = take_gradients(*model);
  for (const int64_t micro_batches : {2, 4}) {
    double loss = 0;
    for (int64_t m = 0; m < micro_batches; ++m) {
      const TokenTargets part = sequences_of(batch, m * 4 / micro_batches, 4 / micro_batches);
      const at::Tensor share = objective_of(*model, part, {targets, micro_batches}).losses.sum();
      torch::autograd::backward({share}, {});
      loss += share.item<double>();
    }
    EXPECT_NEAR(loss, whole.item<double>(), 1e-12);
    const auto got = take_gradients(*model);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::allclose(got[i], expected[i], 1e-10, 1e-13)) << i;
  }
}

}  // namespace
}  // namespace moetrain
