#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "moetrain/decoding/sampler.h"
#include "tests/moetrain/models/small_translator.h"
#include "tests/support/bounded_experts.h"

namespace moetrain {
namespace {

using Tokens = std::vector<int64_t>;

/// Sequences of unequal lengths, which grow.
std::vector<Tokens> uneven_sequences(int64_t longer) {
  std::vector<Tokens> sequences;
  for (const int64_t length : {2, 7, 4, 1}) {
    const at::Tensor tokens = random_tokens(1, length + longer, "uneven");
    sequences.emplace_back(tokens.const_data_ptr<int64_t>(), tokens.const_data_ptr<int64_t>() + length + longer);
  }
  return sequences;
}

struct BlocksCase {
  const char* name;
  void (*change)(ModelConfig& model, MoeConfig& moe);
};

class BatchedDecodingTest : public testing::TestWithParam<BlocksCase> {
 protected:
  BatchedDecodingTest() : model_(of_type(at::kDouble)) {}

  static std::shared_ptr<DecoderLm> of_type(at::ScalarType type) {
    ModelConfig config = small_config(false);
    config.layers = 3;
    MoeConfig moe = small_moe("odd");
    GetParam().change(config, moe);
    return model_of(config, moe, type);
  }
  /// Each place of each sequence, decoded together with the others, against a forward over that sequence alone, which
  /// takes the operations that training has: gradients are on.
  static void expect_places_as_alone(DecoderLm& model, double tolerance);

  std::shared_ptr<DecoderLm> model_;
};

TEST_P(BatchedDecodingTest, EveryPlaceIsThatOfTheSequenceAlone) { expect_places_as_alone(*model_, 1e-11); }

TEST_P(BatchedDecodingTest, EveryPlaceIsThatOfTheSequenceAloneInSinglePrecision) {
  expect_places_as_alone(*of_type(at::kFloat), 1e-5);
}

void BatchedDecodingTest::expect_places_as_alone(DecoderLm& model, double tolerance) {
  const at::NoGradGuard no_gradient;
  constexpr int64_t kLonger = 6;
  const std::vector<Tokens> sequences = uneven_sequences(kLonger);
  parallel::LocalCommunicator alone;
  for (const int64_t room : {0, 20}) {
    std::vector<BlockCache> caches(3, BlockCache{KeyValueCache(room), {}});
    int64_t bytes = 0;  // at first
    for (int64_t step = 0; step <= kLonger; ++step) {
      std::vector<Tokens> next;
      for (const Tokens& each : sequences) {
        const auto prompt = static_cast<int64_t>(each.size()) - kLonger;
        next.push_back(step == 0 ? Tokens(each.begin(), each.begin() + prompt)
                                 : Tokens{each[static_cast<size_t>(prompt + step - 1)]});
      }
      const TokenSide side = side_of(next);
      const at::Tensor last_SD = side.sequences.pooled(model.decode(side, {.group = alone}, caches), Pool::kLast);
      if (step == 0) bytes = caches.front().own.bytes();
      EXPECT_TRUE(room == 0 || caches.front().own.bytes() == bytes) << "made once";
      for (size_t s = 0; s < sequences.size(); ++s) {
        const auto seen = static_cast<int64_t>(sequences[s].size()) - kLonger + step;
        const at::Tensor so_far = at::tensor(sequences[s], at::kLong).narrow(0, 0, seen).unsqueeze(0);
        at::Tensor wanted_D;
        {
          const at::AutoGradMode as_in_training(true);
          wanted_D = run_alone(model, so_far, false).hidden_TD[seen - 1].detach();
        }
        const at::Tensor off = (last_SD[static_cast<int64_t>(s)] - wanted_D).abs().max() / wanted_D.abs().max();
        EXPECT_LT(off.item<double>(), tolerance) << s << " at " << step;
      }
    }
  }
}

/// At whatever temperature, and where some end before the others.
TEST_P(BatchedDecodingTest, PromptsAreContinuedAsAlone) {
  const std::vector<Tokens> prompts = uneven_sequences(0);
  for (const double temperature : {0.0, 1.5}) {
    SamplingOptions options{.tokens = 9, .temperature = temperature, .seed = 5, .batch = 1};
    const std::vector<Tokens> endless = generate(*model_, prompts, options);
    options.end_tokens = {endless[1][3]};
    const std::vector<Tokens> one_by_one = generate(*model_, prompts, options);
    EXPECT_TRUE(std::ranges::any_of(one_by_one, [](const Tokens& each) { return each.size() < 9; }));
    for (const int64_t batch : {2, 3, 8}) {
      options.batch = batch;
      EXPECT_EQ(generate(*model_, prompts, options), one_by_one) << batch << " at " << temperature;
    }
    EXPECT_EQ(generate(*model_, {prompts[0]}, options).front(), one_by_one[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Blocks, BatchedDecodingTest,
    testing::Values(
        BlocksCase{"grouped", [](ModelConfig&, MoeConfig&) {}},
        BlocksCase{"windowed", [](ModelConfig& model, MoeConfig&) { model.attending.window = 3; }},
        BlocksCase{"sinks_in_windows",
                   [](ModelConfig& model, MoeConfig&) {
                     model.attending.window = 3, model.attending.windowed = "odd", model.attending.sinks = true;
                   }},
        BlocksCase{"distances", [](ModelConfig& model,
                                   MoeConfig&) { model.attending.positions = "relative", model.attending.window = 5; }},
        BlocksCase{"sticks",
                   [](ModelConfig& model, MoeConfig&) {
                     model.attending.weights = "stick_breaking", model.attending.positions = "none";
                   }},
        BlocksCase{"latent",
                   [](ModelConfig& model, MoeConfig&) {
                     model.attending.kind = "latent";
                     LatentConfig& latent = model.attending.own<LatentConfig>();
                     latent.kv_rank = 6, latent.plain_width = 4, latent.turned_width = 2, latent.value_width = 3;
                   }},
        BlocksCase{"yarn_and_norms",
                   [](ModelConfig& model, MoeConfig&) {
                     model.attending.rope = "yarn", model.attending.norm = "all", model.attending.bias = "all";
                   }},
        BlocksCase{"modules",
                   [](ModelConfig&, MoeConfig& moe) {
                     MoeConfig heads = moe;
                     heads.name = "heads", heads.slot = Slot::kAttention, heads.expert = "heads";
                     heads.router = "mlp", heads.gate = "raw", heads.hidden = 8, heads.shared_hidden = 0;
                     moe.layers = "all", moe.placement = "moe:odd; heads.attention:all", moe.named = {heads};
                   }}),
    [](const auto& one) { return one.param.name; });

/// What experts make of a token then depends on who else is there, or on its place: prompts go one by one.
TEST(BatchedDecoding, WhereTokensAreNotAloneTheAnswersAreStillThoseOfEachAlone) {
  MoeConfig bounded = small_moe(), drawn = small_moe();
  bound_experts(bounded, 0.5);
  bounded.own<BoundConfig>().evaluation = 0.5;
  drawn.router = "thor", drawn.gate = "hard", drawn.top_k = 1, drawn.losses = {}, drawn.shared_hidden = 0;
  const std::vector<Tokens> prompts = uneven_sequences(0);
  for (const MoeConfig& moe : {bounded, drawn}) {
    const auto model = model_of(small_config(false), moe);
    SamplingOptions options{.tokens = 6, .temperature = 0, .batch = 1};
    const std::vector<Tokens> one_by_one = generate(*model, prompts, options);
    options.batch = 8;
    EXPECT_EQ(generate(*model, prompts, options), one_by_one) << moe.router;
  }
}

TEST(BatchedDecoding, SourcesAreAnsweredAsAlone) {
  ModelConfig config = small_translator_config();
  config.attending.positions = "relative";
  const auto model = translator_of(config, small_moe("odd"));
  const std::vector<Tokens> sources = uneven_sequences(0);
  SamplingOptions options{.tokens = 8, .temperature = 1.3, .batch = 1};
  options.end_tokens = {generate(*model, sources, /*start=*/2, options)[2][4]};
  const std::vector<Tokens> one_by_one = generate(*model, sources, /*start=*/2, options);
  options.batch = 3;
  EXPECT_EQ(generate(*model, sources, /*start=*/2, options), one_by_one);
}

}  // namespace
}  // namespace moetrain
