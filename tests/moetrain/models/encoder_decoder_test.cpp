#include "moetrain/models/encoder_decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/objectives/distillation.h"
#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/two_pass.h"
#include "parallel/base/fault.h"
#include "tests/moetrain/models/small_translator.h"
#include "tests/support/gradient_check.h"

namespace moetrain {
namespace {

at::Tensor hidden_of(EncoderDecoder& model, const SentencePairs& pairs, bool training = false) {
  parallel::LocalCommunicator alone;
  return model.forward(pairs.inputs(), {.group = alone, .training = training}).hidden_TD;
}

/// The rows of pair s among the targets.
at::Tensor target_rows(const at::Tensor& hidden_TD, const SentencePairs& pairs, size_t s) {
  int64_t begin = 0;
  for (size_t i = 0; i < s; ++i) begin += static_cast<int64_t>(pairs.targets[i].size());
  return hidden_TD.narrow(0, begin, static_cast<int64_t>(pairs.targets[s].size()));
}

/// The weighted terms' sum of a training pass; the targets are the inputs shifted by two tokens.
at::Tensor training_loss(EncoderDecoder& model, const SentencePairs& pairs, const ObjectiveConfig& objective = {},
                         const std::shared_ptr<Model>& teacher = nullptr) {
  parallel::LocalCommunicator alone;
  Batch batch{.inputs = pairs.inputs()};
  batch.targets_G = batch.inputs.tokens.ids_T.roll(2).clone();
  batch.targets_G[3] = OutputHead::kIgnored;
  return builtin_objectives()
      .at(objective.kind)
      .make({objective, teacher})
      ->forward(model, batch, {.group = alone, .training = true, .draws = {3, 5}}, {batch.targets_G.numel() - 1, 1})
      .losses.sum();
}

MoeConfig thor_moe() {
  MoeConfig moe = small_moe();
  moe.router = "thor";
  moe.gate = "hard";
  moe.top_k = 1;
  moe.losses["load_balance"] = moe.losses["router_z"] = 0;
  return moe;
}

TEST(EncoderDecoder, GradientEqualsFiniteDifferences) {
  for (const bool tied : {true, false}) {
    for (const char* layers : {"none", "all", "1,2"}) {
      const auto model = translator_of(small_translator_config(tied), small_moe(layers));
      expect_gradients([&] { return training_loss(*model, small_pairs()); }, model->parameters(), 2e-6, /*samples=*/3);
    }
  }
}

/// T5's: positions by distance, in heads of odd width, and a head whose input is scaled.
ModelConfig t5_config() {
  ModelConfig config = small_translator_config();
  config.attending.positions = "relative", config.attending.scaled = false, config.attending.head_width = 3;
  config.attending.own<RelativeConfig>() = {.buckets = 4, .longest = 5};
  config.scaled_head = true, config.activation = "relu";
  return config;
}

TEST(EncoderDecoder, GradientOfDistancesEqualsFiniteDifferences) {
  const auto model = translator_of(t5_config(), small_moe("1,2"));
  EXPECT_TRUE(model->named_parameters().contains("encoder.position_bias.weight"));
  EXPECT_TRUE(model->named_parameters().contains("decoder.position_bias.weight"));
  expect_gradients([&] { return training_loss(*model, small_pairs()); }, model->parameters(), 2e-6, /*samples=*/3);
}

TEST(EncoderDecoder, GradientOfTheObjectivesEqualsFiniteDifferences) {
  ModelConfig config = small_translator_config();
  config.dropout = 0.2;
  config.norm = "layer";
  config.activation = "gelu";
  const auto model = translator_of(config, thor_moe());
  ObjectiveConfig two_pass{.kind = "two_pass", .label_smoothing = 0.1}, taught = two_pass;
  two_pass.own<TwoPassConfig>().consistency = 5.0;
  taught.kind = "distillation";
  taught.own<DistillationConfig>() = {.weight = 0.7, .temperature = 2.0};
  for (const ObjectiveConfig& objective : {two_pass, taught}) {
    const auto teacher = std::make_shared<EncoderDecoder>(small_translator_config(), small_moe("odd"), kVocabulary,
                                                          ParameterSource(30, at::kDouble), MoeTables());
    expect_gradients([&] { return training_loss(*model, small_pairs(), objective, teacher); }, model->parameters(),
                     2e-6, /*samples=*/2);
  }
}

TEST(EncoderDecoder, APairIsAsIfAlone) {
  const at::NoGradGuard no_gradient;
  for (const char* layers : {"none", "all"}) {
    const auto model = translator_of(small_translator_config(), small_moe(layers));
    const SentencePairs pairs = small_pairs();
    const at::Tensor together = hidden_of(*model, pairs);
    for (size_t s = 0; s < pairs.sources.size(); ++s) {
      const SentencePairs alone{{pairs.sources[s]}, {pairs.targets[s]}};
      EXPECT_TRUE(at::allclose(target_rows(together, pairs, s), hidden_of(*model, alone), 1e-11, 1e-12)) << layers << s;
    }
  }
}

TEST(EncoderDecoder, LaterTargetTokensDoNotReachBackAndEverySourceTokenReachesAll) {
  const at::NoGradGuard no_gradient;
  const auto model = translator_of(small_translator_config(), small_moe());
  const SentencePairs pairs = small_pairs();
  const at::Tensor before = hidden_of(*model, pairs);
  const auto moved = [&](const SentencePairs& changed) {  // largest change of each target row of the second pair
    return target_rows(hidden_of(*model, changed) - before, pairs, 1).abs().amax({1});
  };
  SentencePairs changed = pairs;
  changed.targets[1][2] = (changed.targets[1][2] + 1) % kVocabulary;
  const at::Tensor by_target = moved(changed);
  for (int64_t t = 0; t < 4; ++t) {
    const double change = by_target[t].item<double>();
    EXPECT_TRUE(t < 2 ? change < 1e-12 : change > 1e-5) << t << ": " << change;
  }
  for (size_t place = 0; place < pairs.sources[1].size(); ++place) {
    changed = pairs;
    changed.sources[1][place] = (changed.sources[1][place] + 1) % kVocabulary;
    const at::Tensor by_source = moved(changed);
    EXPECT_GT(by_source.min().item<double>(), 1e-6) << place;  // the first target token too: the encoder looks ahead
    EXPECT_LT((hidden_of(*model, changed) - before).narrow(0, 0, 2).abs().max().item<double>(), 1e-12);
  }
}

void expect_decoding_equals_forward(EncoderDecoder& model) {
  const at::NoGradGuard no_gradient;
  SentencePairs pairs = small_pairs();
  for (auto& target : pairs.targets) target.resize(4, 3);
  const at::Tensor full = hidden_of(model, pairs).view({4, 4, -1});
  parallel::LocalCommunicator alone;
  const Memory memory = model.encode(side_of(pairs.sources), {.group = alone});
  std::vector<BlockCache> caches;
  for (int64_t place = 0; place < 4; ++place) {
    std::vector<std::vector<int64_t>> column;
    for (const auto& target : pairs.targets) column.push_back({target[static_cast<size_t>(place)]});
    const at::Tensor step = model.decode(side_of(column), {.group = alone}, memory, caches);
    EXPECT_TRUE(at::allclose(step, full.select(1, place), 1e-11, 1e-12)) << place;
  }
}

TEST(EncoderDecoder, DecodingPlaceByPlaceEqualsTheFullForward) {
  expect_decoding_equals_forward(*translator_of(small_translator_config(), small_moe("odd")));
  ModelConfig config = t5_config();
  expect_decoding_equals_forward(*translator_of(config, small_moe("odd")));
  config.attention = "odd";  // the first block of the decoder keeps nothing
  expect_decoding_equals_forward(*translator_of(config, small_moe("odd")));
}

// As in DecoderLm's test: attention 192, norms 8 each, dense 240, expert 144, what is always on 112, embedding 88.
TEST(EncoderDecoder, ParameterCountByHand) {
  constexpr int64_t kAttention = 64 + 32 + 32 + 64, kDense = 240, kExpert = 144, kAlways = 112;
  constexpr int64_t kRest = 88 + 2 * 8, kEncoder = kAttention + 2 * 8, kDecoder = 2 * kAttention + 3 * 8;
  const auto count = [](bool tied, const char* layers) {
    return translator_of(small_translator_config(tied), small_moe(layers))->parameter_count();
  };
  EXPECT_EQ(count(true, "none").total, kRest + 2 * kEncoder + 2 * kDecoder + 4 * kDense);
  EXPECT_EQ(count(false, "none").total, count(true, "none").total + 88);
  EXPECT_EQ(count(true, "all").total, kRest + 2 * kEncoder + 2 * kDecoder + 4 * (kAlways + 4 * kExpert));
  EXPECT_EQ(count(true, "all").active, kRest + 2 * kEncoder + 2 * kDecoder + 4 * (kAlways + 2 * kExpert));
}

TEST(EncoderDecoder, BlocksAreCountedEncoderFirst) {
  const auto model = translator_of(small_translator_config(), small_moe("1,2"));
  const auto names = model->named_parameters();
  EXPECT_TRUE(names.contains("encoder.1.moe.experts.up"));
  EXPECT_TRUE(names.contains("decoder.0.moe.experts.up"));
  EXPECT_TRUE(names.contains("decoder.0.cross.key.weight"));
  EXPECT_TRUE(names.contains("encoder.0.feed_forward.up.weight"));
  EXPECT_TRUE(names.contains("decoder.1.feed_forward.up.weight"));
  EXPECT_FALSE(names.contains("encoder.0.cross.key.weight"));
  EXPECT_FALSE(names.contains("head.weight"));
  parallel::LocalCommunicator alone;
  const SentencePairs pairs = small_pairs();
  const ModelOutput output = model->forward(pairs.inputs(), {.group = alone, .training = true});
  ASSERT_EQ(output.routing.size(), 2u);
  EXPECT_EQ(output.routing[0].site.block, 1);
  EXPECT_EQ(output.routing[0].side, Side::kSource);
  EXPECT_EQ(output.routing[0].global_rows, 14);
  EXPECT_EQ(output.routing[1].site.block, 2);
  EXPECT_EQ(output.routing[1].side, Side::kTokens);
  EXPECT_EQ(output.routing[1].global_rows, 12);
}

TEST(EncoderDecoder, OneEmbeddingServesSourceTargetAndHead) {
  const auto tied = translator_of(small_translator_config(true), small_moe());
  const at::Tensor loss = training_loss(*tied, small_pairs());
  const at::NoGradGuard no_gradient;
  at::Tensor weight = tied->named_parameters()["embedding.weight"];
  const at::Tensor before = hidden_of(*tied, small_pairs());
  weight.mul_(2);
  EXPECT_FALSE(at::allclose(hidden_of(*tied, small_pairs()), before, 1e-3, 1e-3));
  const at::Tensor ones = at::ones({1, 8}, at::kDouble);
  EXPECT_TRUE(at::allclose(tied->head().logits(ones), weight.sum(1).unsqueeze(0), 1e-13, 1e-14));
}

TEST(EncoderDecoder, NoSentencesGiveNoHiddenStatesAndZeroGradients) {
  const auto model = translator_of(small_translator_config(), small_moe());
  parallel::LocalCommunicator alone;
  Batch batch{.inputs = SentencePairs{}.inputs(), .targets_G = at::empty({0}, at::kLong)};
  batch.inputs.tokens.global_tokens = batch.inputs.source->global_tokens = 10;
  for (const char* kind : {"next_token", "two_pass"}) {
    const ObjectiveConfig config{.kind = kind};
    const ObjectiveOutput output = builtin_objectives()
                                       .at(kind)
                                       .make({config, nullptr})
                                       ->forward(*model, batch, {.group = alone, .training = true}, {7, 1});
    EXPECT_EQ(output.losses.sum().item<double>(), 0.0) << kind;
    torch::autograd::backward({output.losses.sum()}, {});
    for (const at::Tensor& parameter : model->parameters()) {
      if (!parameter.grad().defined()) continue;
      EXPECT_TRUE(parameter.grad().equal(at::zeros_like(parameter))) << kind;
    }
  }
}

TEST(EncoderDecoder, DropoutActsInTrainingOnly) {
  const at::NoGradGuard no_gradient;
  ModelConfig config = small_translator_config();
  const auto plain = translator_of(config, small_moe());
  config.dropout = 0.3;
  const auto dropping = translator_of(config, small_moe());
  EXPECT_TRUE(hidden_of(*plain, small_pairs()).equal(hidden_of(*dropping, small_pairs())));
  EXPECT_FALSE(at::allclose(hidden_of(*plain, small_pairs(), true), hidden_of(*dropping, small_pairs(), true)));
}

TEST(EncoderDecoder, ASourceIsNeeded) {
  const auto model = translator_of(small_translator_config(), small_moe());
  parallel::LocalCommunicator alone;
  EXPECT_THROW(model->forward({.tokens = side_of({{1, 2}})}, {.group = alone}), parallel::InternalError);
}

}  // namespace
}  // namespace moetrain
