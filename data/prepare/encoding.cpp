#include "data/prepare/encoding.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "data/prepare/parts.h"
#include "data/sources/lines.h"
#include "data/sources/workers.h"
#include "data/tokenizers/model_tokenizer.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/printable.h"

namespace data {

void report_phase(const PrepareOptions& options, const std::string& sentence) {
  if (options.progress) options.progress(sentence);
}

namespace {

/// The kinds that are made of text or of nothing; the others are models' own.
std::vector<std::string> made_kinds(const PrepareOptions& options) {
  std::vector<std::string> names = options.tokenizers.names();
  std::erase_if(names, [&](const std::string& name) { return options.tokenizers.at(name).make == nullptr; });
  return names;
}

bool is_made(const PrepareOptions& options) {
  const std::vector<std::string> names = made_kinds(options);
  return std::ranges::find(names, options.tokenizer) != names.end();
}

bool is_hdf5(const std::filesystem::path& path) {
  constexpr std::string_view kMark = "\x89HDF";
  std::string begin(kMark.size(), '\0');
  return std::ifstream(path, std::ios::binary).read(begin.data(), static_cast<std::streamsize>(begin.size())) &&
         begin == kMark;
}

/// Of a model, or of another token file, so that the two can be mixed.
std::shared_ptr<const Tokenizer> tokenizer_that_is_there(const PrepareOptions& options) {
  if (!is_hdf5(options.tokenizer)) return read_model_tokenizer(options.tokenizer);
  return TokenCorpus::open(options.tokenizer, Verify::kIndexOnly, options.tokenizers).shared_tokenizer();
}

}  // namespace

void require_known_tokenizer(const PrepareOptions& options) {
  std::error_code error;
  if (is_made(options) || std::filesystem::exists(options.tokenizer, error)) return;
  parallel::user_error(
      "unknown tokenizer '", parallel::printable(options.tokenizer),
      "'; known: ", parallel::list_names(made_kinds(options)),
      ", and a model's own: a folder that exists, or its tokenizer.json or tokenizer.model; or that of ",
      "another token file");
}

std::shared_ptr<const Tokenizer> make_tokenizer(const PrepareOptions& options,
                                                const std::vector<std::string_view>& texts,
                                                const std::vector<std::string>& controls) {
  if (!is_made(options)) {
    auto tokenizer = tokenizer_that_is_there(options);
    for (const std::string& name : controls) tokenizer->control(name);
    return tokenizer;
  }
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

std::vector<std::string> chat_controls(const PrepareOptions& options) {
  if (options.chat.name.empty()) return {};
  std::vector<std::string> controls = options.chat_templates.at(options.chat.name).controls;
  if (is_made(options)) std::erase(controls, "<s>");
  return controls;
}

namespace {

constexpr size_t kStretchBytes = 1 << 20;  // of a long text that a thread takes at a time

/// A text, or some of its lines.
struct TextStretch {
  size_t text = 0;
  std::string_view part;
  std::vector<int32_t> tokens = {};
  bool changed = false;
};

std::vector<TextStretch> stretches_of(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer) {
  std::vector<TextStretch> stretches;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!tokenizer.lines_apart() || texts[i].size() <= kStretchBytes) {
      stretches.push_back({i, texts[i]});
      continue;
    }
    for (const std::string_view part : cut_at_lines(texts[i], kStretchBytes)) stretches.push_back({i, part});
  }
  return stretches;
}

}  // namespace

EncodedTexts encode_texts(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer, int64_t threads,
                          const std::function<void(int64_t)>& advance) {
  std::vector<TextStretch> stretches = stretches_of(texts, tokenizer);
  for_each_index(std::ssize(stretches), threads, [&](int64_t index) {
    TextStretch& stretch = stretches[static_cast<size_t>(index)];
    stretch.tokens = tokenizer.encode(stretch.part);
    advance(static_cast<int64_t>(stretch.part.size()));
    stretch.changed = tokenizer.decode(stretch.tokens) != stretch.part;
    parallel::check_internal(!stretch.changed || !tokenizer.lossless(), "the tokenizer does not give back text ",
                             stretch.text, ", '", stretch.part.substr(0, 200), "'");
  });
  EncodedTexts all{.tokens = std::vector<std::vector<int32_t>>(texts.size())};
  std::vector<bool> changed(texts.size(), false);
  for (TextStretch& stretch : stretches) {
    std::vector<int32_t>& tokens = all.tokens[stretch.text];
    if (tokens.empty()) {
      tokens = std::move(stretch.tokens);
    } else {
      tokens.insert(tokens.end(), stretch.tokens.begin(), stretch.tokens.end());
    }
    changed[stretch.text] = changed[stretch.text] || stretch.changed;
  }
  all.changed = std::ranges::count(changed, true);
  return all;
}

int64_t threads_each(const PrepareOptions& options, const PrepareTeam& team) {
  if (options.threads > 0 || team.is_alone()) return options.threads;
  return std::max<int64_t>(1, static_cast<int64_t>(std::thread::hardware_concurrency()) / team.shard.count);
}

void note_changed(int64_t changed, int64_t texts, PrepareSummary& summary) {
  if (changed == 0) return;
  summary.notes.push_back(parallel::concat("the tokenizer does not give back ", changed, " of ", texts,
                                           " texts letter by letter: it normalises, or has no piece for a character"));
}

std::vector<std::vector<int32_t>> encode_all(const std::vector<std::string_view>& texts, const Tokenizer& tokenizer,
                                             const PrepareOptions& options, PrepareSummary& summary) {
  int64_t bytes = 0;
  for (const std::string_view text : texts) bytes += static_cast<int64_t>(text.size());
  EncodedTexts all = encode_texts(texts, tokenizer, options.threads, phase_progress(options, "encoding", bytes));
  note_changed(all.changed, static_cast<int64_t>(texts.size()), summary);
  return std::move(all.tokens);
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
