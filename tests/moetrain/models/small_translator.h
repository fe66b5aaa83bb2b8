// defines: small_translator_config, translator_of, side_of, SentencePairs, small_pairs: tiny float64 encoder-decoders
#pragma once
#include <numeric>
#include <vector>

#include "moetrain/models/encoder_decoder.h"
#include "tests/moetrain/models/small_model.h"

namespace moetrain {

inline ModelConfig small_translator_config(bool tied = true) {
  ModelConfig config = small_config(tied);
  config.kind = "encoder_decoder";
  config.encoder_layers = 2;
  return config;
}

inline std::shared_ptr<EncoderDecoder> translator_of(const ModelConfig& config, const MoeConfig& moe,
                                                     int64_t vocabulary = kVocabulary) {
  return std::make_shared<EncoderDecoder>(config, moe, vocabulary, ParameterSource(29, at::kDouble), MoeTables());
}

/// Sentences as the whole of a micro-batch.
inline TokenSide side_of(const std::vector<std::vector<int64_t>>& sentences) {
  std::vector<int64_t> tokens, lengths;
  for (const auto& sentence : sentences) {
    tokens.insert(tokens.end(), sentence.begin(), sentence.end());
    lengths.push_back(static_cast<int64_t>(sentence.size()));
  }
  return {.ids_T = at::tensor(tokens, at::kLong),
          .sequences = {lengths, at::kCPU},
          .global_tokens = static_cast<int64_t>(tokens.size()),
          .global_sequences = static_cast<int64_t>(lengths.size())};
}

struct SentencePairs {
  std::vector<std::vector<int64_t>> sources, targets;
  ModelInputs inputs() const { return {.tokens = side_of(targets), .source = side_of(sources)}; }
};

/// Four pairs of differing lengths.
inline SentencePairs small_pairs(int64_t vocabulary = kVocabulary) {
  const parallel::RandomStream stream(37, "pairs");
  int64_t drawn = 0;
  const auto sentences = [&](const std::vector<int64_t>& lengths) {
    std::vector<std::vector<int64_t>> all;
    for (const int64_t length : lengths) {
      all.emplace_back();
      for (int64_t i = 0; i < length; ++i) all.back().push_back(stream.below(drawn++, vocabulary));
    }
    return all;
  };
  return {sentences({3, 5, 2, 4}), sentences({2, 4, 5, 1})};
}

}  // namespace moetrain
