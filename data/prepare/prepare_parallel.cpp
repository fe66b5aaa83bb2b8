#include "data/prepare/prepare_parallel.h"

#include <utility>

#include "data/prepare/encoding.h"
#include "data/prepare/parallel_rows.h"
#include "data/tokenizers/control_pieces.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

std::shared_ptr<const Tokenizer> make_tagged_tokenizer(const PrepareOptions& options, const ParallelRows& all) {
  std::vector<std::string> tags;
  for (const std::string& language : all.languages) tags.push_back(language_tag(language));
  std::vector<std::string_view> texts;
  size_t sentence = 0;
  for (const ParallelRow& row : all.rows) {
    for (; sentence < static_cast<size_t>(row.end); ++sentence) {
      if (row.split == Split::kTrain) texts.push_back(all.sentences[sentence]);
    }
  }
  return make_tokenizer(options, texts, tags);
}

void write_rows(const PrepareOptions& options, const ParallelRows& all,
                const std::shared_ptr<const Tokenizer>& tokenizer, PrepareSummary& summary) {
  const auto tokens = encode_all(all.sentences, *tokenizer, options.threads);
  TokenCorpusWriter writer(options.output, tokenizer, all.languages, options.overwrite);
  size_t sentence = 0;
  for (const ParallelRow& row : all.rows) {
    std::vector<int64_t> aligned(all.languages.size(), -1);
    for (; sentence < static_cast<size_t>(row.end); ++sentence) {
      const int32_t language = all.language[sentence];
      const auto bytes = static_cast<int64_t>(all.sentences[sentence].size());
      const auto length = static_cast<int64_t>(tokens[sentence].size()) + 1;
      const DocumentInfo info{row.name, language, row.split, bytes, length};
      count_document(summary.groups[static_cast<size_t>(language)], info);
      aligned[static_cast<size_t>(language)] = writer.add(info, tokens[sentence]);
    }
    writer.align(aligned);
  }
  writer.finish();
}

}  // namespace

PrepareSummary prepare_parallel(const PrepareOptions& options) {
  PrepareSummary summary;
  AlignedSummary aligned;
  const ParallelRows all = gather_parallel_rows(options, aligned);
  summary.aligned = aligned;
  for (const std::string& language : all.languages) summary.groups.push_back({language, {}, {}, {}});
  if (aligned.heldout_rows == 0) {
    summary.notes.push_back("no rows are held out (--validation), so that a run cannot be evaluated");
  }
  const auto tokenizer = make_tagged_tokenizer(options, all);
  report_phase(options, parallel::concat("Encoding ", all.sentences.size(), " sentences into ", options.output, "."));
  write_rows(options, all, tokenizer, summary);
  describe(options, *tokenizer, summary);
  return summary;
}

}  // namespace data
