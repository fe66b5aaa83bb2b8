#include "data/prepare/prepare.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <unordered_set>
#include <utility>

#include "data/prepare/document.h"
#include "data/prepare/glob.h"
#include "data/prepare/holdout.h"
#include "data/prepare/man_source.h"
#include "data/prepare/text_source.h"
#include "data/prepare/workers.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/sentencepiece_tokenizer.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

using Documents = std::vector<SourceDocument>;

void report(const PrepareOptions& options, const std::string& sentence) {
  if (options.progress) options.progress(sentence);
}

void check_options(const PrepareOptions& options) {
  if (options.text.empty() && options.man.empty())
    parallel::user_error("there is nothing to prepare: give text or man");
  if (options.output.empty()) parallel::user_error("the output's name is missing");
  if (options.language.empty()) parallel::user_error("the language of the text must not be empty");
  if (options.tokenizer != "byte" && options.tokenizer != "sentencepiece") {
    parallel::user_error("unknown tokenizer '", options.tokenizer, "'; known: byte, sentencepiece");
  }
}

void append(Documents& all, Documents&& more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

void read_text(const PrepareOptions& options, Documents& documents) {
  std::set<std::filesystem::path> files;  // a file that two patterns match counts once
  for (const std::string& pattern : options.text)
    files.merge([&] {
      const auto found = expand_glob(pattern);
      return std::set<std::filesystem::path>(found.begin(), found.end());
    }());
  if (!files.empty()) report(options, parallel::concat("Reading ", files.size(), " text files."));
  const TextFileOptions file_options{options.language, options.most_file_bytes};
  for (const std::filesystem::path& file : files) append(documents, read_text_file(file, file_options));
}

void read_man(const PrepareOptions& options, Documents& documents, PrepareSummary& summary) {
  for (const std::string& folder : options.man) {
    report(options, "Rendering the manual pages in " + folder + ".");
    ManPages pages = read_man_pages(folder, {options.threads, options.mandoc});
    append(documents, std::move(pages.documents));
    summary.symbolic_links += pages.symbolic_links;
    summary.stubs += pages.stubs;
    summary.unreadable += pages.unreadable;
    summary.boilerplate_lines += pages.boilerplate_lines;
  }
}

/// Leaves out documents without a visible character and all but the first of those with the same text.
Documents select(Documents&& documents, PrepareSummary& summary) {
  std::unordered_set<std::string_view> seen;
  std::vector<bool> keep;
  for (const SourceDocument& document : documents) {
    const bool empty = document.text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
    const bool copy = !empty && !seen.insert(document.text).second;
    summary.empty += empty;
    summary.duplicates += copy;
    keep.push_back(!empty && !copy);
  }
  Documents kept;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (keep[i]) kept.push_back(std::move(documents[i]));
  }
  return kept;
}

/// Mixes sources and languages, so that any stretch of the token file looks like the whole: who evaluates only the
/// first windows sees every language. The order is a function of the names alone.
void mix(Documents& documents) {
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < documents.size(); ++i) {
    order.emplace_back(parallel::RandomStream(parallel::hash_name(documents[i].name), "document order").bits(0), i);
  }
  std::sort(order.begin(), order.end());
  Documents mixed;
  for (const auto& [draw, index] : order) mixed.push_back(std::move(documents[index]));
  documents = std::move(mixed);
}

std::shared_ptr<const Tokenizer> make_tokenizer(const PrepareOptions& options, const Documents& documents,
                                                const std::vector<Split>& split) {
  if (options.tokenizer == "byte") return load_byte_tokenizer("");
  report(options, parallel::concat("Training a vocabulary of ", options.vocabulary_size, " pieces."));
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (split[i] == Split::kTrain) texts.push_back(documents[i].text);
  }
  SentencePieceTraining training;
  training.vocabulary_size = options.vocabulary_size;
  training.sample_bytes = options.tokenizer_sample_bytes;
  return train_sentencepiece(texts, training);
}

std::vector<std::vector<int32_t>> encode_all(const Documents& documents, const Tokenizer& tokenizer, int64_t threads) {
  std::vector<std::vector<int32_t>> tokens(documents.size());
  for_each_index(static_cast<int64_t>(documents.size()), threads, [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    tokens[i] = tokenizer.encode(documents[i].text);
    const bool same = tokenizer.decode(tokens[i]) == documents[i].text;
    parallel::check_internal(same, "the tokenizer does not give back the text of ", documents[i].name);
  });
  return tokens;
}

void count(GroupSummary& group, const DocumentInfo& info) {
  SplitSummary& split = info.split == Split::kTrain ? group.train : group.heldout;
  ++split.documents;
  split.tokens += info.tokens;
  split.bytes += info.bytes;
}

void write(const PrepareOptions& options, const Documents& documents, const std::vector<Split>& split,
           std::shared_ptr<const Tokenizer> tokenizer, PrepareSummary& summary) {
  std::map<std::string, int32_t> group_index;
  for (const SourceDocument& document : documents) group_index.emplace(document.group, 0);
  std::vector<std::string> groups;
  for (auto& [name, index] : group_index) {
    index = static_cast<int32_t>(groups.size());
    groups.push_back(name);
    summary.groups.push_back({name, {}, {}});
  }
  const auto tokens = encode_all(documents, *tokenizer, options.threads);
  TokenCorpusWriter writer(options.output, tokenizer, groups, options.overwrite);
  for (size_t i = 0; i < documents.size(); ++i) {
    const int32_t group = group_index.at(documents[i].group);
    const auto bytes = static_cast<int64_t>(documents[i].text.size());
    const DocumentInfo info{documents[i].name, group, split[i], bytes, static_cast<int64_t>(tokens[i].size()) + 1};
    count(summary.groups[static_cast<size_t>(group)], info);
    writer.add(info, tokens[i]);
  }
  writer.finish();
}

}  // namespace

PrepareSummary prepare(const PrepareOptions& options) {
  check_options(options);
  require_writable(options.output, options.overwrite);
  PrepareSummary summary;
  Documents documents;
  read_text(options, documents);
  read_man(options, documents, summary);
  documents = select(std::move(documents), summary);
  if (documents.empty()) parallel::user_error("the sources hold no text at all (", summary.empty, " empty documents)");
  mix(documents);
  const Holdout holdout = choose_heldout(documents, options.heldout);
  summary.notes = holdout.notes;
  const auto tokenizer = make_tokenizer(options, documents, holdout.split);
  report(options, parallel::concat("Encoding ", documents.size(), " documents into ", options.output, "."));
  write(options, documents, holdout.split, tokenizer, summary);
  summary.output = options.output;
  summary.tokenizer = tokenizer->kind();
  summary.tokenizer_hash = tokenizer_hash(*tokenizer);
  summary.vocabulary_size = tokenizer->vocabulary_size();
  return summary;
}

}  // namespace data
