// defines: translate, translate_text, TranslationScore, score_translations: a split's sources in the model's words
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/datasets/parallel_text.h"
#include "launch/training/groups.h"
#include "moetrain/decoding/beam_search.h"
#include "moetrain/models/encoder_decoder.h"

namespace launch {

/// The best hypothesis of each pair of `text`, detokenized, the same on every rank and for any number of ranks.
/// `batch`: sentences decoded side by side; each rank decodes some of the batches. Collective.
std::vector<std::string> translate(moetrain::EncoderDecoder& model, const data::ParallelText& text,
                                   const moetrain::BeamOptions& options, int64_t batch, const Groups& groups);

/// The best hypothesis of one text.
std::string translate_text(moetrain::EncoderDecoder& model, const data::Tokenizer& tokenizer, const std::string& source,
                           const std::string& target_language, const moetrain::BeamOptions& options);

/// Of one direction, with sacreBLEU's definitions (data/scoring).
struct TranslationScore {
  std::string direction;
  int64_t sentences = 0;
  double bleu = 0;            // cased, 13a
  double bleu_lowercase = 0;  // of lower-cased text
  double chrf = 0;
};

std::vector<TranslationScore> score_translations(const data::ParallelText& text,
                                                 const std::vector<std::string>& hypotheses);

/// {direction: {"sentences", "bleu", "bleu_lowercase", "chrf"}}
nlohmann::json to_json(const std::vector<TranslationScore>& scores);

}  // namespace launch
