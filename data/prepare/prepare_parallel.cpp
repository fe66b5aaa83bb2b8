#include "data/prepare/prepare_parallel.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "data/prepare/encoding.h"
#include "data/prepare/parallel_rows.h"
#include "data/sources/near_copies.h"
#include "data/tokenizers/control_pieces.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

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

/// A value for each two sentences of the row, by their languages and words: what a row with another language more has
/// in common with it.
std::vector<uint64_t> pairs_of(const ParallelRows& all, size_t begin, size_t end) {
  std::vector<std::string> sentences;
  for (size_t i = begin; i < end; ++i) {
    const std::string words = words_of(all.sentences[i]);
    sentences.push_back(words.empty() ? "" : all.languages[static_cast<size_t>(all.language[i])] + ":" + words);
  }
  std::vector<uint64_t> pairs;
  for (size_t i = 0; i < sentences.size(); ++i) {
    for (size_t j = i + 1; j < sentences.size(); ++j) {
      if (sentences[i].empty() || sentences[j].empty()) continue;
      pairs.push_back(parallel::hash_name(sentences[i] + "\n" + sentences[j]));
    }
  }
  return pairs;
}

/// The sets say what is held out; that some of it is trained on nevertheless is for the user to know.
void add_note_of_copies(const ParallelRows& all, PrepareSummary& summary) {
  std::unordered_set<uint64_t> trained;
  int64_t copies = 0, others = 0;
  for (const bool training : {true, false}) {
    size_t begin = 0;
    for (const ParallelRow& row : all.rows) {
      const auto end = static_cast<size_t>(row.end);
      if ((row.split == Split::kTrain) == training) {
        const std::vector<uint64_t> pairs = pairs_of(all, begin, end);
        if (training) trained.insert(pairs.begin(), pairs.end());
        others += !training;
        copies += !training && std::any_of(pairs.begin(), pairs.end(), [&](uint64_t p) { return trained.contains(p); });
      }
      begin = end;
    }
  }
  if (copies == 0) return;
  summary.notes.push_back(
      parallel::concat(copies, " of ", others, " rows of --validation and --test are training rows too, ",
                       "but for white space, punctuation and capitals: scores on them are too good."));
}

void write_rows(const PrepareOptions& options, const ParallelRows& all,
                const std::shared_ptr<const Tokenizer>& tokenizer, PrepareSummary& summary) {
  const auto tokens = encode_all(all.sentences, *tokenizer, options, summary);
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
  add_note_of_copies(all, summary);
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
