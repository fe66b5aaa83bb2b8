#include "data/prepare/encoding.h"

#include <atomic>
#include <filesystem>

#include "data/sources/workers.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/model_tokenizer.h"
#include "data/tokenizers/sentencepiece_tokenizer.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {

void report_phase(const PrepareOptions& options, const std::string& sentence) {
  if (options.progress) options.progress(sentence);
}

void require_known_tokenizer(const PrepareOptions& options) {
  std::error_code error;
  if (options.tokenizer == "byte" || options.tokenizer == "sentencepiece") return;
  if (std::filesystem::exists(options.tokenizer, error)) return;
  parallel::user_error(
      "unknown tokenizer '", parallel::printable(options.tokenizer),
      "'; known: byte, sentencepiece, and a model's own: a folder that exists, or its tokenizer.json or ",
      "tokenizer.model");
}

std::shared_ptr<const Tokenizer> make_tokenizer(const PrepareOptions& options,
                                                const std::vector<std::string_view>& texts,
                                                const std::vector<std::string>& controls) {
  if (options.tokenizer == "byte") return make_byte_tokenizer(controls);
  if (options.tokenizer != "sentencepiece") {
    auto of_model = read_model_tokenizer(options.tokenizer);
    for (const std::string& name : controls) of_model->control(name);
    return of_model;
  }
  int64_t bytes = 0;
  for (const std::string_view text : texts) bytes += static_cast<int64_t>(text.size());
  const bool sampled = bytes > options.tokenizer_sample_bytes;
  report_phase(options,
               parallel::concat("Training a vocabulary of ", options.vocabulary_size, " pieces",
                                sampled ? parallel::concat(" on about ", options.tokenizer_sample_bytes >> 20,
                                                           " MiB of the ", bytes >> 20, " MiB of training text")
                                        : "",
                                "."));
  SentencePieceTraining training;
  training.vocabulary_size = options.vocabulary_size;
  training.sample_bytes = options.tokenizer_sample_bytes;
  training.controls = controls;
  return train_sentencepiece(texts, training);
}

std::vector<std::vector<int32_t>> encode_all(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer,
                                             const PrepareOptions& options, PrepareSummary& summary) {
  std::vector<std::vector<int32_t>> tokens(texts.size());
  std::atomic<int64_t> changed = 0;
  for_each_index(static_cast<int64_t>(texts.size()), options.threads, [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    tokens[i] = tokenizer.encode(texts[i]);
    if (tokenizer.decode(tokens[i]) == texts[i]) return;
    parallel::check_internal(!tokenizer.lossless(), "the tokenizer does not give back text ", index, ", '",
                             texts[i].substr(0, 200), "'");
    ++changed;
  });
  if (changed > 0) {
    summary.notes.push_back(
        parallel::concat("the tokenizer does not give back ", changed.load(), " of ", texts.size(),
                         " texts letter by letter: it normalises, or has no piece for a character"));
  }
  return tokens;
}

void describe(const PrepareOptions& options, const Tokenizer& tokenizer, PrepareSummary& summary) {
  summary.output = options.output;
  summary.tokenizer = tokenizer.kind();
  summary.tokenizer_hash = tokenizer_hash(tokenizer);
  summary.vocabulary_size = tokenizer.vocabulary_size();
}

void count_document(GroupSummary& group, const DocumentInfo& info) {
  SplitSummary* const splits[] = {&group.train, &group.heldout, &group.test};
  SplitSummary& split = *splits[static_cast<int>(info.split)];
  ++split.documents;
  split.tokens += info.tokens;
  split.bytes += info.bytes;
}

}  // namespace data
