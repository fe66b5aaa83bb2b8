#include "data/prepare/prepare.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "data/files/file_bytes.h"
#include "data/hdf5/checksum.h"
#include "data/prepare/encoded_documents.h"
#include "data/prepare/encoding.h"
#include "data/prepare/encoding_share.h"
#include "data/prepare/holdout.h"
#include "data/prepare/parts.h"
#include "data/prepare/prepare_parallel.h"
#include "data/prepare/text_files.h"
#include "data/sources/document.h"
#include "data/sources/image_folder.h"
#include "data/sources/man_source.h"
#include "data/sources/near_copies.h"
#include "data/text/utf8.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

using Documents = std::vector<SourceDocument>;

void check_chat(const PrepareOptions& options) {
  constexpr size_t kMostSystemBytes = 32 << 10;
  if (options.chat.name.empty()) return;
  options.chat_templates.at(options.chat.name);  // is known
  if (!options.parallel.empty()) parallel::user_error("conversations are no parallel text; prepare them apart");
  const std::string& system = options.chat.system;
  if (system.size() > kMostSystemBytes || system.find('\0') != std::string::npos ||
      valid_utf8_prefix(system) != system.size()) {
    parallel::user_error("what the system says must be UTF-8 without zero bytes, at most ", kMostSystemBytes, " bytes");
  }
}

void check_options(const PrepareOptions& options) {
  const bool plain = !options.text.empty() || !options.man.empty();
  const bool aligned = !options.parallel.empty();
  if (!options.images.empty()) {
    if (plain || aligned) parallel::user_error("images do not go into one file with text; prepare them apart");
    return;
  }
  if (!plain && !aligned) parallel::user_error("there is nothing to prepare: give text, man, parallel or images");
  if (plain && aligned) {
    parallel::user_error("parallel text and plain text (text, man) do not go into one file; prepare them apart");
  }
  if (!aligned && (!options.validation.empty() || !options.test.empty())) {
    parallel::user_error("validation and test sets belong to parallel training sets, and there are none (parallel)");
  }
  if (options.output.empty()) parallel::user_error("the output's name is missing");
  if (options.language.empty()) parallel::user_error("the language of the text must not be empty");
  if (valid_utf8_prefix(options.language) != options.language.size()) {
    parallel::user_error("the language of the text is not UTF-8: ", describe_utf8_fault(options.language));
  }
  if (options.field.empty()) parallel::user_error("the field of JSON lines must not be empty; legal: a member's name");
  require_known_tokenizer(options);
  check_chat(options);
}

void append(Documents& all, Documents&& more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

void read_man(const PrepareOptions& options, Documents& documents, PrepareSummary& summary) {
  for (const std::string& folder : options.man) {
    report_phase(options, "Rendering the manual pages in " + folder + ".");
    ManPages pages = read_man_pages(folder, {options.threads, options.mandoc});
    for (const SourceDocument& page : pages.documents) {
      require_apart(options.output, std::filesystem::absolute(folder) / page.name);
    }
    append(documents, std::move(pages.documents));
    summary.symbolic_links += pages.symbolic_links;
    summary.stubs += pages.stubs;
    summary.unreadable += pages.unreadable;
    summary.other_files += pages.other_files;
    summary.boilerplate_lines += pages.boilerplate_lines;
  }
}

/// Leaves out documents without a visible character, unless they are images, and all but the first of those with the
/// same content.
Documents select(Documents&& documents, bool images, PrepareSummary& summary) {
  std::unordered_set<std::string_view> seen;
  std::vector<bool> keep;
  for (const SourceDocument& document : documents) {
    const bool empty = !images && document.text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
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
/// first windows sees every language. The order is a function of identities alone.
void mix(Documents& documents, std::vector<Split>& split) {
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < documents.size(); ++i) {
    order.emplace_back(parallel::RandomStream(parallel::hash_name(documents[i].identity), "document order").bits(0), i);
  }
  std::sort(order.begin(), order.end());
  Documents mixed;
  std::vector<Split> mixed_split;
  for (const auto& [draw, index] : order) {
    mixed.push_back(std::move(documents[index]));
    mixed_split.push_back(split[index]);
  }
  documents = std::move(mixed);
  split = std::move(mixed_split);
}

/// Decides what is held out, and brings the documents into their order.
std::vector<Split> split_and_mix(Documents& documents, const PrepareOptions& options, PrepareSummary& summary) {
  summary.near_copies = join_near_copies(documents, options.threads);
  Holdout holdout = choose_heldout(documents, options.heldout);
  cut_documents(documents, holdout);
  mix(documents, holdout.split);
  summary.notes.insert(summary.notes.end(), holdout.notes.begin(), holdout.notes.end());
  return holdout.split;
}

/// Images are held out whole, and none is like another for its letters.
std::vector<Split> split_and_mix_images(Documents& documents, double fraction) {
  Holdout holdout = choose_heldout(documents, fraction);
  if (!holdout.cuts.empty()) {
    const std::string& group = documents[holdout.cuts.front().document].group;
    parallel::user_error("class '", group,
                         "' has too few images to hold some out; legal: more of them, or --heldout 0");
  }
  mix(documents, holdout.split);
  return holdout.split;
}

/// Leaves out conversations in which nobody answers.
void drop_unanswered(Documents& documents, PrepareSummary& summary) {
  summary.unanswered = static_cast<int64_t>(std::erase_if(documents, [](const SourceDocument& document) {
    return !document.messages.empty() && std::ranges::none_of(document.messages, &ChatMessage::learned);
  }));
}

void require_text(const Documents& documents, const PrepareOptions& options, const PrepareSummary& summary) {
  if (documents.empty()) {
    parallel::user_error("the sources hold no text at all (", summary.empty, " empty documents, ", summary.unanswered,
                         " conversations without an answer)");
  }
  const bool chat = std::ranges::any_of(documents, [](const auto& document) { return !document.messages.empty(); });
  if (chat || options.chat.name.empty()) return;
  parallel::user_error("chat template '", options.chat.name,
                       "': the sources hold no conversation (JSON lines or Parquet with ",
                       "\"messages\", or \"prompt\" and \"completion\")");
}

std::vector<std::string_view> training_texts(const Documents& documents, const std::vector<Split>& split) {
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (split[i] == Split::kTrain) texts.push_back(documents[i].text);
  }
  return texts;
}

void write_documents(const PrepareOptions& options, const Documents& documents, const std::vector<Split>& split,
                     std::shared_ptr<const Tokenizer> tokenizer, const std::optional<ImageShape>& image,
                     const std::vector<EncodedDocument>& encoded, PrepareSummary& summary) {
  std::map<std::string, int32_t> group_index;
  for (const SourceDocument& document : documents) group_index.emplace(document.group, 0);
  std::vector<std::string> groups;
  for (auto& [name, index] : group_index) {
    index = static_cast<int32_t>(groups.size());
    groups.push_back(name);
    summary.groups.push_back({name, {}, {}, {}});
  }
  TokenCorpusWriter writer(options.output, tokenizer, groups, options.overwrite);
  if (image) writer.set_images(*image);
  if (!options.chat.name.empty()) writer.set_chat(options.chat);
  for (size_t i = 0; i < documents.size(); ++i) {
    const int32_t group = group_index.at(documents[i].group);
    const DocumentInfo info{documents[i].name, group, split[i], encoded[i].bytes,
                            static_cast<int64_t>(encoded[i].tokens.size()) + 1};
    count_document(summary.groups[static_cast<size_t>(group)], info);
    writer.add(info, encoded[i].tokens, encoded[i].learned);
  }
  writer.finish();
}

/// A vocabulary that takes minutes to learn is a finished part, too.
std::shared_ptr<const Tokenizer> make_kept_tokenizer(const PrepareOptions& options, const PartsFolder* parts,
                                                     const std::vector<std::string_view>& texts) {
  const std::vector<std::string> controls = chat_controls(options);
  const std::vector<std::string> kinds = options.tokenizers.names();
  const bool learns =
      std::ranges::count(kinds, options.tokenizer) > 0 && options.tokenizers.at(options.tokenizer).learns;
  if (parts == nullptr || !learns) return make_tokenizer(options, texts, controls);
  std::string learnt_from;
  for (const std::string_view text : texts) learnt_from += checksum(text.data(), text.size());
  for (const std::string& control : controls) learnt_from += checksum(control.data(), control.size());
  const std::string key =
      parallel::concat(options.tokenizer, "\n", options.vocabulary_size, "\n", options.tokenizer_sample_bytes, "\n",
                       checksum(learnt_from.data(), learnt_from.size()));
  if (const auto content = parts->read("tokenizer", key)) {
    PartReader part(*content);
    const std::string kind(part.text());
    return options.tokenizers.at(kind).load(std::string(part.text()));
  }
  const auto tokenizer = make_tokenizer(options, texts, controls);
  PartWriter part;
  part.text(tokenizer->kind());
  part.text(tokenizer->serialized());
  parts->write("tokenizer", key, part.content());
  return tokenizer;
}

/// What becomes of the sources, step by step; between steps the team meets.
class Preparation {
 public:
  Preparation(const PrepareOptions& options, const PrepareTeam& team)
      : options_(options),
        team_(team),
        files_(options, &summary_.notes),
        parts_(options.output + ".parts"),
        kept_(!files_.empty() && (!team.is_alone() || files_.bytes() >= options.parts_from_bytes)),
        encoding_(options_, parts_, team_) {}

  bool is_kept() const { return kept_; }
  void read_share() const {
    if (!files_.empty()) report_phase(options_, parallel::concat("Reading ", files_.count(), " text files."));
    if (kept_) files_.read_share(parts_, team_);
  }
  void arrange();
  void encode() const { encoding_.encode(); }
  PrepareSummary write();

 private:
  void read_images();
  EncodedDocuments encode_here() const;

  const PrepareOptions& options_;
  const PrepareTeam& team_;
  PrepareSummary summary_;
  TextFiles files_;
  PartsFolder parts_;
  bool kept_;
  EncodingShare encoding_;
  Documents documents_;
  std::optional<ImageShape> image_;
  std::vector<Split> split_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

void Preparation::read_images() {
  report_phase(options_, "Reading the images in " + options_.images + ".");
  ImageFolder folder = read_image_folder(options_.images);
  documents_ = std::move(folder.documents);
  image_ = folder.shape;
}

/// Brings the documents into their order, and makes the tokenizer.
void Preparation::arrange() {
  if (!options_.images.empty()) read_images();
  append(documents_, files_.documents(kept_ ? &parts_ : nullptr, &summary_.notes));
  read_man(options_, documents_, summary_);
  documents_ = select(std::move(documents_), image_.has_value(), summary_);
  drop_unanswered(documents_, summary_);
  require_text(documents_, options_, summary_);
  split_ = image_ ? split_and_mix_images(documents_, options_.heldout) : split_and_mix(documents_, options_, summary_);
  tokenizer_ = image_ ? options_.tokenizers.at("byte").make({}, {})
                      : make_kept_tokenizer(options_, kept_ ? &parts_ : nullptr, training_texts(documents_, split_));
  report_phase(options_, parallel::concat("Encoding ", documents_.size(), " documents into ", options_.output, "."));
  require_chat(options_, *tokenizer_);
  if (kept_) encoding_.plan(documents_, tokenizer_);
}

EncodedDocuments Preparation::encode_here() const {
  std::vector<const SourceDocument*> documents;
  int64_t bytes = 0;
  for (const SourceDocument& document : documents_) {
    documents.push_back(&document);
    bytes += static_cast<int64_t>(document.text.size());
  }
  return encode_documents(documents, *tokenizer_, options_, options_.threads,
                          phase_progress(options_, "encoding", bytes));
}

PrepareSummary Preparation::write() {
  const EncodedDocuments encoded = kept_ ? encoding_.encoded() : encode_here();
  note_changed(encoded.changed, static_cast<int64_t>(documents_.size()), summary_);
  write_documents(options_, documents_, split_, tokenizer_, image_, encoded.documents, summary_);
  if (kept_) parts_.remove();
  describe(options_, *tokenizer_, summary_);
  return std::move(summary_);
}

}  // namespace

PrepareSummary prepare(const PrepareOptions& options, const PrepareTeam& team) {
  PrepareSummary summary;
  std::optional<Preparation> work;
  team.together([&] {
    check_options(options);
    require_writable(options.output, options.overwrite);
    if (!options.parallel.empty()) {
      if (team.is_first()) summary = prepare_parallel(options);
    } else {
      work.emplace(options, team).read_share();
    }
  });
  if (!work) return summary;
  team.together([&] {
    if (team.is_first()) work->arrange();
  });
  team.together([&] {
    if (work->is_kept()) work->encode();
  });
  team.together([&] {
    if (team.is_first()) summary = work->write();
  });
  return summary;
}

}  // namespace data
