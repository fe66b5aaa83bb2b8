// A split's sources in the model's words.
// defines: SentencesToTranslate, translate, TextToTranslate, translate_text, source_tokens, one_line, TranslationScore,
// score_translations, records_of
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/datasets/parallel_text.h"
#include "launch/ranks/groups.h"
#include "launch/records/records.h"
#include "moetrain/decoding/beam_search.h"
#include "moetrain/models/encoder_decoder.h"

namespace launch {

/// The best hypothesis of each pair of `text`, detokenized, the same on every rank and for any number of ranks. Nothing
/// is made of a blank source: its translation is blank.
/// `batch`: sentences decoded side by side; each rank decodes some of the batches. Collective.
struct SentencesToTranslate {
  const data::ParallelText& text;
  int64_t batch = 1;
  std::vector<int64_t> task_of_direction = {};  // of the text's; empty: there are no tasks
};
std::vector<std::string> translate(moetrain::EncoderDecoder& model, const SentencesToTranslate& sentences,
                                   const moetrain::BeamOptions& options, const Groups& groups);

/// What the model reads of a text: the target's tag, the text's tokens without the white space around them, the end.
std::vector<int64_t> source_tokens(const data::Tokenizer& tokenizer, std::string_view source,
                                   const std::string& target_language);

/// The best hypothesis of one text; of a blank one blank.
struct TextToTranslate {
  std::string source, target_language;
  int64_t task = -1;  // number of its direction among the run's tasks; -1: there are none
};
std::string translate_text(moetrain::EncoderDecoder& model, const data::Tokenizer& tokenizer,
                           const TextToTranslate& text, const moetrain::BeamOptions& options);

/// With spaces where a reader of lines would see an end of line.
std::string one_line(std::string text);

/// Of one direction, with sacreBLEU's definitions (data/scoring). Where all references are blank there is nothing to
/// score, and every score is a NaN.
struct TranslationScore {
  std::string direction;
  int64_t sentences = 0;
  double bleu = 0;            // cased, 13a
  double bleu_lowercase = 0;  // of lower-cased text
  double chrf = 0;
};

std::vector<TranslationScore> score_translations(const data::ParallelText& text,
                                                 const std::vector<std::string>& hypotheses);

/// By direction.
Named<TranslationRecord> records_of(const std::vector<TranslationScore>& scores);

}  // namespace launch
