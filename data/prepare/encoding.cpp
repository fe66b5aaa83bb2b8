#include "data/prepare/encoding.h"

#include "data/sources/workers.h"
#include "parallel/base/fault.h"

namespace data {

void report_phase(const PrepareOptions& options, const std::string& sentence) {
  if (options.progress) options.progress(sentence);
}

std::shared_ptr<const Tokenizer> make_tokenizer(const PrepareOptions& options,
                                                const std::vector<std::string_view>& texts,
                                                const std::vector<std::string>& controls) {
  const TokenizerKind& kind = options.tokenizers.at(options.tokenizer);
  const TokenizerTraining training{
      .vocabulary_size = options.vocabulary_size, .sample_bytes = options.tokenizer_sample_bytes, .controls = controls};
  if (!kind.learns) return kind.make(texts, training);
  int64_t bytes = 0;
  for (const std::string_view text : texts) bytes += static_cast<int64_t>(text.size());
  const bool sampled = bytes > training.sample_bytes;
  report_phase(options,
               parallel::concat("Training a vocabulary of ", training.vocabulary_size, " pieces",
                                sampled ? parallel::concat(" on about ", training.sample_bytes >> 20, " MiB of the ",
                                                           bytes >> 20, " MiB of training text")
                                        : "",
                                "."));
  return kind.make(texts, training);
}

std::vector<std::vector<int32_t>> encode_all(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer,
                                             int64_t threads) {
  std::vector<std::vector<int32_t>> tokens(texts.size());
  for_each_index(static_cast<int64_t>(texts.size()), threads, [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    tokens[i] = tokenizer.encode(texts[i]);
    const bool same = tokenizer.decode(tokens[i]) == texts[i];
    parallel::check_internal(same, "the tokenizer does not give back text ", index, ", '", texts[i].substr(0, 200),
                             "'");
  });
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
