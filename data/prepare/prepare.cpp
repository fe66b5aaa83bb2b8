#include "data/prepare/prepare.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>

#include "data/prepare/encoding.h"
#include "data/prepare/holdout.h"
#include "data/prepare/image_folder.h"
#include "data/prepare/prepare_parallel.h"
#include "data/sources/document.h"
#include "data/files/file_bytes.h"
#include "data/sources/glob.h"
#include "data/sources/man_source.h"
#include "data/sources/near_copies.h"
#include "data/sources/text_source.h"
#include "data/text/utf8.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

using Documents = std::vector<SourceDocument>;

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
}

void append(Documents& all, Documents&& more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

void read_text(const PrepareOptions& options, Documents& documents, PrepareSummary& summary) {
  std::set<std::filesystem::path> files;  // a file that two patterns match counts once
  for (const std::string& pattern : options.text) {
    const auto found = expand_glob(pattern, &summary.notes);
    files.insert(found.begin(), found.end());
  }
  if (!files.empty()) report_phase(options, parallel::concat("Reading ", files.size(), " text files."));
  const TextFileOptions file_options{options.language, options.most_file_bytes, options.field};
  for (const std::filesystem::path& file : files) require_apart(options.output, file);
  for (const std::filesystem::path& file : files) {
    append(documents, read_text_file(file, file_options, &summary.notes));
  }
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
std::vector<Split> split_and_mix(Documents& documents, double fraction, PrepareSummary& summary) {
  summary.near_copies = join_near_copies(documents);
  Holdout holdout = choose_heldout(documents, fraction);
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

std::vector<std::string_view> training_texts(const Documents& documents, const std::vector<Split>& split) {
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (split[i] == Split::kTrain) texts.push_back(documents[i].text);
  }
  return texts;
}

void write(const PrepareOptions& options, const Documents& documents, const std::vector<Split>& split,
           std::shared_ptr<const Tokenizer> tokenizer, const std::optional<ImageShape>& image,
           PrepareSummary& summary) {
  std::map<std::string, int32_t> group_index;
  for (const SourceDocument& document : documents) group_index.emplace(document.group, 0);
  std::vector<std::string> groups;
  for (auto& [name, index] : group_index) {
    index = static_cast<int32_t>(groups.size());
    groups.push_back(name);
    summary.groups.push_back({name, {}, {}, {}});
  }
  std::vector<std::string_view> texts;
  for (const SourceDocument& document : documents) texts.push_back(document.text);
  const auto tokens = encode_all(texts, *tokenizer, options, summary);
  TokenCorpusWriter writer(options.output, tokenizer, groups, options.overwrite);
  if (image) writer.set_images(*image);
  for (size_t i = 0; i < documents.size(); ++i) {
    const int32_t group = group_index.at(documents[i].group);
    const auto bytes = static_cast<int64_t>(documents[i].text.size());
    const DocumentInfo info{documents[i].name, group, split[i], bytes, static_cast<int64_t>(tokens[i].size()) + 1};
    count_document(summary.groups[static_cast<size_t>(group)], info);
    writer.add(info, tokens[i]);
  }
  writer.finish();
}

}  // namespace

PrepareSummary prepare(const PrepareOptions& options) {
  check_options(options);
  require_writable(options.output, options.overwrite);
  if (!options.parallel.empty()) return prepare_parallel(options);
  PrepareSummary summary;
  Documents documents;
  std::optional<ImageShape> image;
  if (!options.images.empty()) {
    report_phase(options, "Reading the images in " + options.images + ".");
    ImageFolder folder = read_image_folder(options.images);
    documents = std::move(folder.documents);
    image = folder.shape;
  }
  read_text(options, documents, summary);
  read_man(options, documents, summary);
  documents = select(std::move(documents), image.has_value(), summary);
  if (documents.empty()) parallel::user_error("the sources hold no text at all (", summary.empty, " empty documents)");
  const std::vector<Split> split =
      image ? split_and_mix_images(documents, options.heldout) : split_and_mix(documents, options.heldout, summary);
  const auto tokenizer =
      image ? options.tokenizers.at("byte").make({}, {}) : make_tokenizer(options, training_texts(documents, split));
  report_phase(options, parallel::concat("Encoding ", documents.size(), " documents into ", options.output, "."));
  write(options, documents, split, tokenizer, image, summary);
  describe(options, *tokenizer, summary);
  return summary;
}

}  // namespace data
