#include "data/datasets/token_corpus.h"

#include <algorithm>
#include <utility>

#include "data/datasets/alignment.h"
#include "data/datasets/corpus_contents.h"
#include "data/hdf5/checksum.h"
#include "data/hdf5/file.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

// Limits of what is read into memory; a file that claims more is refused.
constexpr int64_t kMostDocuments = 1ll << 31;
constexpr int64_t kMostGroups = 1 << 16;
constexpr int64_t kMostNameBytes = 1ll << 36;
constexpr int64_t kMostModelBytes = 1ll << 28;

using Names = FormatNames;

void check_format(const Hdf5File& file) {
  const std::string format = file.attribute("/", "format");
  const std::string version = file.attribute("/", "version");
  if (format != Names::kFormat || (version != Names::kVersion && version != Names::kVersionOfChats)) {
    parallel::user_error(file.path().string(), ": is '", format, "' version '", version, "'; this program reads '",
                         Names::kFormat, "' versions '", Names::kVersion, "' and '", Names::kVersionOfChats,
                         "' (written by `moetrain prepare`)");
  }
}

void read_tokenizer(const Hdf5File& file, const TokenizerTable& tokenizers, CorpusContents& contents) {
  const std::string kind = file.attribute(Names::kTokenizer, "kind");
  const std::string model = file.read_blob(Names::kModel, kMostModelBytes);
  contents.tokenizer = tokenizers.at(kind).load(model);
  contents.tokenizer_hash = tokenizer_hash(*contents.tokenizer);
  const std::string stored = file.attribute("/", "tokenizer_hash");
  if (stored != contents.tokenizer_hash) {
    parallel::user_error(file.path().string(), ": tokenizer_hash is ", stored, ", but the tokenizer inside has ",
                         contents.tokenizer_hash);
  }
}

void read_index(const Hdf5File& file, CorpusContents& contents) {
  contents.offsets = file.read<int64_t>(Names::kOffsets, kMostDocuments + 1);
  contents.group = file.read<int32_t>(Names::kGroup, kMostDocuments);
  contents.bytes = file.read<int64_t>(Names::kBytes, kMostDocuments);
  contents.split = file.read<uint8_t>(Names::kSplit, kMostDocuments);
  contents.name = split_names(file.read_blob(Names::kName, kMostNameBytes));
  contents.groups = split_names(file.read_blob(Names::kGroups, kMostNameBytes));
}

void map_tokens(const Hdf5File& file, CorpusContents& contents) {
  const DatasetPlace place = file.place(Names::kTokens);
  const ElementType expected =
      contents.tokenizer->vocabulary_size() <= 65536 ? ElementType::kUint16 : ElementType::kUint32;
  if (place.type != expected) {
    parallel::user_error(file.path().string(), ": '", Names::kTokens, "' has elements of ", to_string(place.type),
                         "; a vocabulary of ", contents.tokenizer->vocabulary_size(), " needs ", to_string(expected));
  }
  contents.file = std::make_unique<MappedFile>(file.path());
  const auto offset = static_cast<size_t>(place.offset);
  contents.tokens = {contents.file->data() + offset, place.count, static_cast<int>(bytes_of(place.type))};
  if (offset + contents.tokens.bytes() > contents.file->size()) {
    parallel::user_error(file.path().string(), ": became shorter while it was opened");
  }
}

/// The index agrees with itself and with the number of tokens.
void check_index(const Hdf5File& file, const CorpusContents& contents) {
  const auto bad = [&](const auto&... parts) { parallel::user_error(file.path().string(), ": ", parts...); };
  const size_t documents = contents.group.size();
  if (contents.offsets.size() != documents + 1 || contents.bytes.size() != documents ||
      contents.split.size() != documents || contents.name.size() != documents) {
    bad("the datasets of /documents disagree about how many documents there are");
  }
  if (contents.groups.empty() || static_cast<int64_t>(contents.groups.size()) > kMostGroups) {
    bad("has ", contents.groups.size(), " groups; 1 to ", kMostGroups, " are legal");
  }
  if (contents.offsets.front() != 0 || contents.offsets.back() != contents.tokens.count) {
    bad("documents cover tokens ", contents.offsets.front(), " to ", contents.offsets.back(), ", but there are ",
        contents.tokens.count);
  }
  for (size_t d = 0; d < documents; ++d) {
    if (contents.offsets[d + 1] <= contents.offsets[d]) bad("document ", d, " has no tokens or runs backwards");
    const bool in_groups = contents.group[d] >= 0 && contents.group[d] < static_cast<int64_t>(contents.groups.size());
    if (!in_groups) bad("document ", d, " is of group ", contents.group[d], "; there are ", contents.groups.size());
    if (contents.split[d] >= kSplits)
      bad("document ", d, " is in split ", int{contents.split[d]}, "; 0 to 2 are known");
    if (contents.bytes[d] < 0) bad("document ", d, " claims ", contents.bytes[d], " bytes");
  }
}

/// Reads the images' shape where the documents are images, each with as many tokens as that says, and its end.
void read_images(const Hdf5File& file, CorpusContents& contents) {
  if (!file.has(Names::kImages)) return;
  const auto bad = [&](const auto&... parts) { parallel::user_error(file.path().string(), ": ", parts...); };
  contents.image = ImageShape::parse(file.attribute(Names::kImages, "shape"));
  if (contents.tokenizer->kind() != "byte") bad("has images in tokens of kind ", contents.tokenizer->kind());
  const int64_t tokens = contents.image->bytes() + 1;
  for (size_t d = 0; d < contents.group.size(); ++d) {
    if (contents.offsets[d + 1] - contents.offsets[d] != tokens) {
      bad("image ", d, " has ", contents.offsets[d + 1] - contents.offsets[d], " tokens; its shape, ",
          contents.image->text(), ", asks for ", tokens);
    }
  }
}

/// Maps what is learned, and reads what wrote it, where the file has conversations.
void read_chat(const Hdf5File& file, CorpusContents& contents) {
  if (file.attribute("/", "version") != Names::kVersionOfChats) return;
  contents.chat = {file.attribute(Names::kChat, "template"), file.attribute(Names::kChat, "system")};
  const DatasetPlace place = file.place(Names::kLearned);
  if (place.type != ElementType::kUint8 || place.count != contents.tokens.count) {
    parallel::user_error(file.path().string(), ": '", Names::kLearned, "' has ", place.count, " elements of ",
                         to_string(place.type), "; ", contents.tokens.count, " tokens need as many of uint8");
  }
  contents.learned = contents.file->data() + place.offset;
  if (static_cast<size_t>(place.offset + place.count) > contents.file->size()) {
    parallel::user_error(file.path().string(), ": became shorter while it was opened");
  }
}

/// Of a dataset that is mapped.
void check_mapped(const Hdf5File& file, const char* name, const std::byte* begin, size_t bytes) {
  const std::string found = checksum(begin, bytes), stored = file.stored_checksum(name);
  if (found == stored) return;
  parallel::user_error(file.path().string(), ": '", name, "' is damaged: its checksum is ", found, ", stored was ",
                       stored);
}

void check_tokens(const Hdf5File& file, const CorpusContents& contents) {
  const TokenView& tokens = contents.tokens;
  contents.file->expect_pass();
  check_mapped(file, Names::kTokens, tokens.begin, tokens.bytes());
  if (contents.learned != nullptr) {
    check_mapped(file, Names::kLearned, contents.learned, static_cast<size_t>(tokens.count));
  }
  const int64_t largest = tokens.largest();
  if (largest >= contents.tokenizer->vocabulary_size()) {
    parallel::user_error(file.path().string(), ": token ", largest, " is outside the vocabulary of ",
                         contents.tokenizer->vocabulary_size());
  }
}

}  // namespace

std::string to_string(Split split) {
  constexpr const char* kNames[] = {"train", "held out", "test"};
  return kNames[static_cast<int>(split)];
}

std::string join_names(const std::vector<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) joined += name + '\0';
  return joined;
}

std::vector<std::string> split_names(std::string_view joined) {
  std::vector<std::string> names;
  while (!joined.empty()) {
    const size_t end = std::min(joined.find('\0'), joined.size());
    names.emplace_back(joined.substr(0, end));
    joined.remove_prefix(std::min(end + 1, joined.size()));
  }
  return names;
}

std::string tokenizer_hash(const Tokenizer& tokenizer) {
  const std::string content = tokenizer.kind() + '\0' + tokenizer.serialized();
  return checksum(content.data(), content.size());
}

TokenCorpus TokenCorpus::open(const std::filesystem::path& path, Verify verify, const TokenizerTable& tokenizers) {
  const Hdf5File file = Hdf5File::open(path);
  check_format(file);
  auto contents = std::make_shared<CorpusContents>();
  contents->path = path.string();
  read_tokenizer(file, tokenizers, *contents);
  read_index(file, *contents);
  map_tokens(file, *contents);
  check_index(file, *contents);
  read_alignment(file, *contents);
  read_images(file, *contents);
  read_chat(file, *contents);
  if (verify == Verify::kTokens) check_tokens(file, *contents);
  contents->file->expect_random_places();
  std::string parts = file.stored_checksum(Names::kTokens) + file.stored_checksum(Names::kOffsets) +
                      file.stored_checksum(Names::kSplit);
  if (contents->learned != nullptr) parts += file.stored_checksum(Names::kLearned);
  if (contents->image) parts += contents->image->text();
  if (contents->aligned_rows() > 0) parts += file.stored_checksum(Names::kAligned);
  contents->fingerprint = checksum(parts.data(), parts.size());
  return TokenCorpus(std::move(contents));
}

const Tokenizer& TokenCorpus::tokenizer() const { return *contents_->tokenizer; }

std::shared_ptr<const Tokenizer> TokenCorpus::shared_tokenizer() const { return contents_->tokenizer; }

const std::string& TokenCorpus::tokenizer_hash() const { return contents_->tokenizer_hash; }

const std::string& TokenCorpus::fingerprint() const { return contents_->fingerprint; }

const std::vector<std::string>& TokenCorpus::groups() const { return contents_->groups; }

const std::optional<ImageShape>& TokenCorpus::image() const { return contents_->image; }

const std::optional<ChatForm>& TokenCorpus::chat() const { return contents_->chat; }

int64_t TokenCorpus::documents() const { return contents_->documents(); }

DocumentInfo TokenCorpus::document(int64_t index) const {
  if (index < 0 || index >= documents()) {
    parallel::user_error("there is no document ", index, "; the corpus has documents 0 to ", documents() - 1);
  }
  const auto d = static_cast<size_t>(index);
  return {contents_->name[d], contents_->group[d], static_cast<Split>(contents_->split[d]), contents_->bytes[d],
          contents_->offsets[d + 1] - contents_->offsets[d]};
}

std::string TokenCorpus::document_text(int64_t index) const {
  const int64_t text_tokens = document(index).tokens - 1;  // the last one is end_of_text
  std::vector<int32_t> tokens(static_cast<size_t>(text_tokens));
  contents_->tokens.copy(contents_->offsets[static_cast<size_t>(index)], text_tokens, tokens.data());
  return contents_->tokenizer->decode(tokens);
}

int64_t TokenCorpus::aligned_rows() const { return contents_->aligned_rows(); }

int64_t TokenCorpus::aligned_rows(Split split) const {
  int64_t rows = 0;
  for (int64_t row = 0; row < aligned_rows(); ++row) rows += contents_->split_of_row(row) == split;
  return rows;
}

int64_t TokenCorpus::aligned_document(int64_t row, int64_t group) const {
  const auto groups = static_cast<int64_t>(contents_->groups.size());
  if (row < 0 || row >= aligned_rows() || group < 0 || group >= groups) {
    parallel::user_error(contents_->path, ": there is no row ", row, " with group ", group, "; it has ", aligned_rows(),
                         " aligned rows of ", groups, " groups");
  }
  return contents_->aligned_document(row, group);
}

TokenStream TokenCorpus::stream(Split split) const { return {contents_, documents_of(split)}; }

TokenStream TokenCorpus::stream(Split split, int64_t group) const {
  std::vector<int64_t> documents = documents_of(split);
  std::erase_if(documents, [&](int64_t document) { return contents_->group[static_cast<size_t>(document)] != group; });
  return {contents_, std::move(documents)};
}

std::vector<int64_t> TokenCorpus::documents_of(Split split) const {
  std::vector<int64_t> chosen;
  for (int64_t d = 0; d < documents(); ++d) {
    if (contents_->split[static_cast<size_t>(d)] == static_cast<uint8_t>(split)) chosen.push_back(d);
  }
  return chosen;
}

void TokenCorpus::require_documents(Split split) const {
  if (std::ranges::count(contents_->split, static_cast<uint8_t>(split)) > 0) return;
  parallel::user_error(contents_->path, ", split '", to_string(split), "', has no documents; prepare it with ",
                       split == Split::kHeldOut ? "--heldout above 0" : "more text");
}

}  // namespace data
