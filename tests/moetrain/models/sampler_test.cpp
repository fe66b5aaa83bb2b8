#include "moetrain/decoding/sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "parallel/base/fault.h"
#include "tests/moetrain/models/small_translator.h"
#include "tests/support/bounded_experts.h"

namespace moetrain {
namespace {

const std::vector<int64_t> kPrompt{3, 1, 4, 1, 5};

/// Probabilities of the next token by a forward over all tokens so far, without a cache.
at::Tensor next_probabilities(DecoderLm& model, const std::vector<int64_t>& tokens) {
  const at::NoGradGuard no_gradient;
  const at::Tensor hidden = run_alone(model, at::tensor(tokens, at::kLong).unsqueeze(0), false).hidden_TD;
  return at::softmax(model.head().logits(hidden.narrow(0, hidden.size(0) - 1, 1)).squeeze(0), 0);
}

std::vector<int64_t> continued(DecoderLm& model, const std::vector<int64_t>& prompt, const SamplingOptions& options) {
  return generate(model, std::vector<std::vector<int64_t>>{prompt}, options).front();
}

/// From token 2 on.
std::vector<int64_t> answered(EncoderDecoder& model, const std::vector<int64_t>& source,
                              const SamplingOptions& options) {
  return generate(model, std::vector<std::vector<int64_t>>{source}, /*start=*/2, options).front();
}

/// The smallest set of most likely tokens whose probability reaches top_p.
std::set<int64_t> nucleus(const at::Tensor& probability_V, double top_p) {
  std::vector<std::pair<double, int64_t>> sorted;
  for (int64_t v = 0; v < probability_V.numel(); ++v) sorted.emplace_back(-probability_V[v].item<double>(), v);
  std::sort(sorted.begin(), sorted.end());
  std::set<int64_t> kept;
  double sum = 0;
  for (const auto& [negated, token] : sorted) {
    kept.insert(token);
    sum -= negated;
    if (sum >= top_p) break;
  }
  return kept;
}

class GenerateTest : public testing::TestWithParam<const char*> {
 protected:
  const std::shared_ptr<DecoderLm> model_ = model_of(small_config(false), small_moe(GetParam()));
};

TEST_P(GenerateTest, GreedyEqualsTheArgmaxOfRepeatedFullForwards) {
  std::vector<int64_t> tokens = kPrompt, expected;
  for (int i = 0; i < 12; ++i) {
    expected.push_back(at::argmax(next_probabilities(*model_, tokens)).item<int64_t>());
    tokens.push_back(expected.back());
  }
  EXPECT_EQ(continued(*model_, kPrompt, {.tokens = 12, .temperature = 0}), expected);
}

TEST_P(GenerateTest, NothingIsDrawnFromLogitsThatAreNone) {
  const at::NoGradGuard no_gradient;
  for (const double weight : {std::nan(""), HUGE_VAL}) {
    model_->parameters().front().fill_(weight);
    EXPECT_THROW(continued(*model_, kPrompt, {.tokens = 2}), parallel::UserError) << weight;
  }
}

TEST_P(GenerateTest, SameSeedSameTokens) {
  const SamplingOptions options{.tokens = 16, .temperature = 1.5, .seed = 7};
  const std::vector<int64_t> first = continued(*model_, kPrompt, options);
  EXPECT_EQ(first.size(), 16u);
  EXPECT_EQ(continued(*model_, kPrompt, options), first);
  SamplingOptions other = options;
  other.seed = 8;
  EXPECT_NE(continued(*model_, kPrompt, other), first);
  SamplingOptions shorter = options;
  shorter.tokens = 10;  // the length asked for changes no draw
  EXPECT_EQ(continued(*model_, kPrompt, shorter), std::vector<int64_t>(first.begin(), first.begin() + 10));
}

INSTANTIATE_TEST_SUITE_P(Blocks, GenerateTest, testing::Values("none", "odd", "all"));

TEST(Generate, OfTokensThatRoundOffPartsTheSmallerIdIsTaken) {
  const auto model = model_of(small_config(false), small_moe("none"));
  const at::NoGradGuard no_gradient;
  const int64_t best = at::argmax(next_probabilities(*model, kPrompt)).item<int64_t>();
  const auto [low, high] = std::minmax({best, best == 0 ? best + 1 : best - 1});
  at::Tensor head = model->named_parameters()["head.weight"];
  const at::Tensor row = head[best].clone();
  for (const double sign : {1.0, -1.0}) {  // of the two one is larger by its last bits, whatever the logit's sign
    head[low].copy_(row * (1 - sign * 1e-13));
    head[high].copy_(row * (1 + sign * 1e-13));
    EXPECT_EQ(continued(*model, kPrompt, {.tokens = 1, .temperature = 0})[0], low);
  }
}

TEST(Generate, DrawsFollowTheProbabilitiesOfTheFullForward) {
  const auto model = model_of(small_config(false), small_moe("none"));
  // The first token over many seeds, at a temperature, against the softmax of the scaled logits.
  constexpr int kDraws = 800;
  const at::Tensor cold = at::softmax(next_probabilities(*model, kPrompt).log() / 0.7, 0);
  std::vector<double> share(kVocabulary, 0);
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    share[static_cast<size_t>(continued(*model, kPrompt, {.tokens = 1, .temperature = 0.7, .seed = seed})[0])] +=
        1.0 / kDraws;
  }
  for (int64_t v = 0; v < kVocabulary; ++v) {
    const double p = cold[v].item<double>();
    EXPECT_NEAR(share[static_cast<size_t>(v)], p, 4.5 * std::sqrt(p * (1 - p) / kDraws) + 1e-4) << v;
  }
}

TEST(Generate, TopPKeepsTheSmallestSetThatReachesIt) {
  const auto model = model_of(small_config(false), small_moe("none"));
  const at::Tensor probability = next_probabilities(*model, kPrompt);
  for (const double top_p : {0.05, 0.5, 0.8}) {
    const std::set<int64_t> kept = nucleus(probability, top_p);
    ASSERT_LT(kept.size(), static_cast<size_t>(kVocabulary));
    std::set<int64_t> seen;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      seen.insert(continued(*model, kPrompt, {.tokens = 1, .top_p = top_p, .seed = seed})[0]);
    }
    EXPECT_TRUE(std::includes(kept.begin(), kept.end(), seen.begin(), seen.end())) << top_p;
    const int64_t likeliest = at::argmax(probability).item<int64_t>();
    EXPECT_TRUE(seen.contains(likeliest)) << top_p;
    EXPECT_EQ(seen.size() > 1, kept.size() > 1) << top_p;
  }
}

TEST(Generate, StopsAfterTheEndToken) {
  const auto model = model_of(small_config(), small_moe());
  const std::vector<int64_t> endless = continued(*model, kPrompt, {.tokens = 20, .temperature = 2.0, .seed = 3});
  const int64_t end = endless[5];
  const auto first = std::find(endless.begin(), endless.end(), end);
  const std::vector<int64_t> stopped =
      continued(*model, kPrompt, {.tokens = 20, .temperature = 2.0, .seed = 3, .end_tokens = {end}});
  EXPECT_EQ(stopped, std::vector<int64_t>(endless.begin(), first + 1));
}

TEST(Generate, NothingAskedForAndNothingToContinue) {
  const auto model = model_of(small_config(), small_moe());
  EXPECT_TRUE(continued(*model, kPrompt, {.tokens = 0}).empty());
  EXPECT_THROW(continued(*model, {}, {.tokens = 1}), parallel::InternalError);
}

TEST(Generate, GreedyTiesGoToTheSmallerToken) {
  const auto model = model_of(small_config(false), small_moe());
  const at::NoGradGuard no_gradient;
  model->named_parameters()["head.weight"].zero_();
  EXPECT_EQ(continued(*model, kPrompt, {.tokens = 3, .temperature = 0}), (std::vector<int64_t>{0, 0, 0}));
}

TEST(Generate, CapacityDropsNothingInDecoding) {
  MoeConfig bounded = small_moe();
  bound_experts(bounded, 0.1);
  const auto model = model_of(small_config(), bounded), dropless = model_of(small_config(), small_moe());
  const SamplingOptions greedy{.tokens = 10, .temperature = 0};
  EXPECT_EQ(continued(*model, kPrompt, greedy), continued(*dropless, kPrompt, greedy));
}

TEST(GenerateFromASource, GreedyEqualsTheArgmaxOfRepeatedFullForwards) {
  const at::NoGradGuard no_gradient;
  ModelConfig config = small_translator_config();
  config.attending.positions = "relative", config.attending.scaled = false, config.scaled_head = true;
  const auto model = translator_of(config, small_moe("odd"));
  parallel::LocalCommunicator alone;
  const std::vector<std::vector<int64_t>> source = {kPrompt};
  std::vector<std::vector<int64_t>> said = {{2}};
  std::vector<int64_t> expected;
  for (int i = 0; i < 8; ++i) {
    const ModelInputs inputs{.tokens = side_of(said), .source = side_of(source)};
    const at::Tensor hidden = model->forward(inputs, {.group = alone}).hidden_TD;
    expected.push_back(at::argmax(model->head().logits(hidden.narrow(0, i, 1))).item<int64_t>());
    said.front().push_back(expected.back());
  }
  EXPECT_EQ(answered(*model, kPrompt, {.tokens = 8, .temperature = 0}), expected);
  const std::vector<int64_t> ended =
      answered(*model, kPrompt, {.tokens = 8, .temperature = 0, .end_tokens = {expected[1]}});
  EXPECT_LE(ended.size(), 2u);
  EXPECT_EQ(ended.back(), expected[1]);
}

}  // namespace
}  // namespace moetrain
