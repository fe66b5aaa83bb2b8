#include "moetrain/decoding/beam_search.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"
#include "tests/moetrain/models/small_translator.h"

namespace moetrain {
namespace {

using Sentence = std::vector<int64_t>;

constexpr int64_t kEnd = 3;

/// log p of the token after each of `start`, tokens..., by one forward without a cache: [tokens + 1, V].
at::Tensor log_p_after(EncoderDecoder& model, const Sentence& source, const Sentence& tokens) {
  const at::NoGradGuard no_gradient;
  parallel::LocalCommunicator alone;
  Sentence input{kEnd};
  input.insert(input.end(), tokens.begin(), tokens.end());
  const SentencePairs pair{{source}, {input}};
  return at::log_softmax(model.head().logits(model.forward(pair.inputs(), {.group = alone}).hidden_TD), 1);
}

std::vector<Sentence> search(EncoderDecoder& model, const std::vector<Sentence>& sources, const BeamOptions& options,
                             int64_t first_sequence = 0) {
  parallel::LocalCommunicator alone;
  TokenSide side = side_of(sources);
  side.first_sequence = first_sequence;
  return beam_search(model, side, options, {.group = alone});
}

/// The best of all hypotheses of at most `longest` tokens by log p / length^penalty, end counted.
std::pair<double, Sentence> best_of_all(EncoderDecoder& model, const Sentence& source, int64_t longest, double penalty,
                                        int64_t vocabulary, const Sentence& so_far = {}) {
  const at::Tensor log_p = log_p_after(model, source, so_far);
  double sum = log_p[static_cast<int64_t>(so_far.size())][kEnd].item<double>();
  for (size_t i = 0; i < so_far.size(); ++i) sum += log_p[static_cast<int64_t>(i)][so_far[i]].item<double>();
  std::pair<double, Sentence> best{sum / std::pow(static_cast<double>(so_far.size() + 1), penalty), so_far};
  for (int64_t token = 0; token < vocabulary && static_cast<int64_t>(so_far.size()) < longest; ++token) {
    if (token == kEnd) continue;
    Sentence longer = so_far;
    longer.push_back(token);
    auto found = best_of_all(model, source, longest, penalty, vocabulary, longer);
    if (found.first > best.first) best = std::move(found);
  }
  return best;
}

std::shared_ptr<EncoderDecoder> lively_translator(const MoeConfig& moe, int64_t vocabulary = kVocabulary) {
  ModelConfig config = small_translator_config(/*tied=*/false);
  config.init_std = 0.8;
  return translator_of(config, moe, vocabulary);
}

TEST(BeamSearch, NothingIsFoundAmongLogitsThatAreNone) {
  const at::NoGradGuard no_gradient;
  const auto model = lively_translator(small_moe());
  model->parameters().front().fill_(std::nan(""));
  EXPECT_THROW(search(*model, {{5, 6, kEnd}}, {.beam = 2, .end_token = kEnd}), parallel::UserError);
}

TEST(BeamSearch, OfOneBeamIsGreedy) {
  const auto model = lively_translator(small_moe());
  const BeamOptions options{.beam = 1, .longest_ratio = 1.5, .longest_extra = 4, .end_token = kEnd};
  const std::vector<Sentence> sources = small_pairs().sources, found = search(*model, sources, options);
  for (size_t s = 0; s < sources.size(); ++s) {
    const auto longest = static_cast<size_t>(1.5 * static_cast<double>(sources[s].size())) + 4;
    Sentence expected;
    while (expected.size() < longest) {
      const at::Tensor log_p = log_p_after(*model, sources[s], expected);
      const int64_t token = log_p[static_cast<int64_t>(expected.size())].argmax().item<int64_t>();
      if (token == kEnd) break;
      expected.push_back(token);
    }
    EXPECT_EQ(found[s], expected) << s;
  }
}

// 4 tokens, one of them the end: 1 + 3 + 9 + 27 hypotheses of at most 3 tokens, which a beam of 64 holds.
TEST(BeamSearch, OfEqualTokensTheSmallerComesFirst) {
  const auto model = lively_translator(small_moe());
  const at::NoGradGuard no_gradient;
  at::Tensor head = model->named_parameters()["head.weight"];
  const auto part_pairs_by = [&](double share) {
    for (int64_t token = 4; token + 1 < kVocabulary; token += 2) head[token + 1].copy_(head[token] * (1 + share));
  };
  for (const int64_t beam : {1, 3}) {
    const BeamOptions options{.beam = beam, .longest_ratio = 1.5, .longest_extra = 4, .end_token = kEnd};
    part_pairs_by(1e-13);
    const std::vector<Sentence> found = search(*model, small_pairs().sources, options);
    part_pairs_by(-1e-13);
    EXPECT_EQ(search(*model, small_pairs().sources, options), found) << beam;
    if (beam > 1) continue;
    for (const Sentence& sentence : found) {
      for (const int64_t token : sentence) EXPECT_TRUE(token < 4 || token % 2 == 0) << token;
    }
  }
}

TEST(BeamSearch, OfAWideBeamIsExhaustive) {
  constexpr int64_t kFew = 4, kLongest = 3;
  const auto model = lively_translator(small_moe("odd"), kFew);
  const std::vector<Sentence> sources = small_pairs(kFew).sources;
  size_t longer = 0, pruned = 0;
  for (const double penalty : {0.0, 0.6, 1.0, 2.0}) {
    BeamOptions options{
        .beam = 64, .length_penalty = penalty, .longest_ratio = 0, .longest_extra = kLongest, .end_token = kEnd};
    const std::vector<Sentence> found = search(*model, sources, options);
    options.beam = 1;
    const std::vector<Sentence> greedy = search(*model, sources, options);
    for (size_t s = 0; s < sources.size(); ++s) {
      EXPECT_EQ(found[s], best_of_all(*model, sources[s], kLongest, penalty, kFew).second) << penalty << ", " << s;
      longer += found[s].empty() ? 0 : 1;
      pruned += found[s] != greedy[s] ? 1 : 0;
    }
  }
  EXPECT_GT(longer, 4u);  // not all alike
  EXPECT_GT(pruned, 0u);  // and more than greedy finds
}

TEST(BeamSearch, ASentenceDoesNotDependOnItsNeighbours) {
  for (const char* layers : {"none", "all"}) {
    const auto model = lively_translator(small_moe(layers));
    const BeamOptions options{.beam = 3, .longest_ratio = 1.0, .longest_extra = 3, .end_token = kEnd};
    const std::vector<Sentence> sources = small_pairs().sources, together = search(*model, sources, options);
    for (size_t s = 0; s < sources.size(); ++s) {
      EXPECT_EQ(search(*model, {sources[s]}, options)[0], together[s]) << layers << s;
    }
    const std::vector<Sentence> reversed = search(*model, {sources.rbegin(), sources.rend()}, options);
    EXPECT_EQ(std::vector<Sentence>(reversed.rbegin(), reversed.rend()), together) << layers;
  }
}

TEST(BeamSearch, HypothesesEndAtTheirLongest) {
  const auto model = lively_translator(small_moe("none"));
  const at::NoGradGuard no_gradient;
  model->named_parameters()["head.weight"][kEnd].fill_(0);  // its logit is 0; another's is positive in every place
  const Sentence source{1, 2, 4, 5};
  for (const int64_t extra : {0, 1, 5}) {
    const BeamOptions options{.beam = 1, .longest_ratio = 0.5, .longest_extra = extra, .end_token = kEnd};
    EXPECT_EQ(search(*model, {source}, options)[0].size(), static_cast<size_t>(2 + extra));
  }
  const BeamOptions none{.beam = 4, .longest_ratio = 0, .longest_extra = 0, .end_token = kEnd};
  EXPECT_TRUE(search(*model, {source}, none)[0].empty());
  EXPECT_TRUE(search(*model, {}, none).empty());
}

TEST(BeamSearch, NothingHoldsTheEndInAHypothesis) {
  const auto model = lively_translator(small_moe());
  for (const Sentence& found : search(*model, small_pairs().sources, {.beam = 4, .end_token = kEnd})) {
    for (const int64_t token : found) EXPECT_NE(token, kEnd);
  }
}

// THOR's draws are functions of sentence and place: beams of a sentence share them, and neighbours change none.
TEST(BeamSearch, StochasticExpertsAreDrawnBySentence) {
  MoeConfig moe = small_moe();
  moe.router = "thor";
  moe.gate = "hard";
  moe.top_k = 1;
  moe.losses["load_balance"] = moe.losses["router_z"] = 0;
  moe.own<ThorConfig>().inference = "sentence";
  const auto model = lively_translator(moe);
  const BeamOptions options{.beam = 3, .longest_ratio = 1.0, .longest_extra = 3, .end_token = kEnd};
  const std::vector<Sentence> sources = small_pairs().sources, together = search(*model, sources, options, 10);
  EXPECT_EQ(search(*model, sources, options, 10), together);
  for (size_t s = 0; s < sources.size(); ++s) {
    EXPECT_EQ(search(*model, {sources[s]}, options, 10 + static_cast<int64_t>(s))[0], together[s]) << s;
  }
  EXPECT_NE(search(*model, sources, options, 500), together);  // other sentences, other experts
}

}  // namespace
}  // namespace moetrain
