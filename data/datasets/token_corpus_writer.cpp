#include "data/datasets/token_corpus_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <system_error>
#include <utility>

#include "data/datasets/corpus_contents.h"
#include "data/hdf5/file.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

/// Removes the file when the scope is left, unless it was renamed away.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::filesystem::path path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Best effort: not every file system lets a folder be flushed, and the file itself is on the disk already.
void flush_folder(const std::filesystem::path& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

}  // namespace

void require_writable(const std::filesystem::path& path, Overwrite overwrite) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  const bool exists = std::filesystem::exists(status);
  if (exists && !std::filesystem::is_regular_file(status)) {
    parallel::user_error(path.string(), ": exists and is not a file");
  }
  if (exists && overwrite == Overwrite::kRefuse) {
    parallel::user_error(path.string(), ": exists already; choose another name, or --overwrite");
  }
  const auto folder = std::filesystem::absolute(path).parent_path();
  if (!std::filesystem::is_directory(folder))
    parallel::user_error(path.string(), ": there is no folder ", folder.string());
}

TokenCorpusWriter::TokenCorpusWriter(std::filesystem::path path, std::shared_ptr<const Tokenizer> tokenizer,
                                     std::vector<std::string> groups, Overwrite overwrite)
    : path_(std::move(path)), tokenizer_(std::move(tokenizer)), groups_(std::move(groups)), overwrite_(overwrite) {
  parallel::check_internal(!groups_.empty(), "a token file needs at least one group");
  require_writable(path_, overwrite_);
}

int64_t TokenCorpusWriter::add(const DocumentInfo& info, const std::vector<int32_t>& tokens,
                               const std::vector<uint8_t>& learned) {
  parallel::check_internal(learned.size() == (chat_ ? tokens.size() + 1 : 0), "what is learned of ", tokens.size(),
                           " tokens is said of ", learned.size());
  learned_.insert(learned_.end(), learned.begin(), learned.end());
  const bool known_group = info.group >= 0 && info.group < static_cast<int64_t>(groups_.size());
  parallel::check_internal(known_group, "group ", info.group, " of ", groups_.size());
  parallel::check_internal(info.name.find('\0') == std::string::npos, "a zero byte in the name of a document");
  const bool narrow = tokenizer_->vocabulary_size() <= 65536;
  const auto append = [&](auto& all, int64_t end_of_text) {
    all.insert(all.end(), tokens.begin(), tokens.end());
    all.push_back(static_cast<typename std::decay_t<decltype(all)>::value_type>(end_of_text));
    offsets_.push_back(static_cast<int64_t>(all.size()));
  };
  narrow ? append(narrow_tokens_, tokenizer_->end_of_text()) : append(wide_tokens_, tokenizer_->end_of_text());
  group_.push_back(info.group);
  bytes_.push_back(info.bytes);
  split_.push_back(static_cast<uint8_t>(info.split));
  name_.push_back(info.name);
  return static_cast<int64_t>(name_.size()) - 1;
}

void TokenCorpusWriter::align(const std::vector<int64_t>& documents) {
  const bool whole = documents.size() == groups_.size();
  parallel::check_internal(whole, "a row of ", documents.size(), " documents for ", groups_.size(), " groups");
  alignment_.insert(alignment_.end(), documents.begin(), documents.end());
}

void TokenCorpusWriter::finish() {
  const TemporaryFile temporary(path_.string() + ".partial-" + std::to_string(::getpid()));
  write_contents(temporary.path());
  require_writable(path_, overwrite_);
  std::error_code error;
  std::filesystem::rename(temporary.path(), path_, error);
  if (error) parallel::user_error(path_.string(), ": cannot be put in place: ", error.message());
  flush_folder(std::filesystem::absolute(path_).parent_path());
}

void TokenCorpusWriter::write_contents(const std::filesystem::path& temporary) const {
  using Names = FormatNames;
  Hdf5File file = Hdf5File::create(temporary);
  file.write_attribute("/", "format", Names::kFormat);
  file.write_attribute("/", "version", chat_ ? Names::kVersionOfChats : Names::kVersion);
  file.write_attribute("/", "tokenizer_hash", tokenizer_hash(*tokenizer_));
  file.create_group("/documents");
  const bool narrow = tokenizer_->vocabulary_size() <= 65536;
  narrow ? file.write(Names::kTokens, narrow_tokens_) : file.write(Names::kTokens, wide_tokens_);
  file.write(Names::kOffsets, offsets_);
  file.write(Names::kGroup, group_);
  file.write(Names::kBytes, bytes_);
  file.write(Names::kSplit, split_);
  file.write_blob(Names::kName, join_names(name_));
  file.write_blob(Names::kGroups, join_names(groups_));
  file.create_group(Names::kTokenizer);
  file.write_attribute(Names::kTokenizer, "kind", tokenizer_->kind());
  file.write_blob(Names::kModel, tokenizer_->serialized());
  if (chat_) {
    file.write(Names::kLearned, learned_);
    file.create_group(Names::kChat);
    file.write_attribute(Names::kChat, "template", chat_->name);
    file.write_attribute(Names::kChat, "system", chat_->system);
  }
  if (image_) {
    file.create_group(Names::kImages);
    file.write_attribute(Names::kImages, "shape", image_->text());
  }
  if (!alignment_.empty()) {
    file.create_group(Names::kAlignment);
    file.write(Names::kAligned, alignment_);
  }
  file.close();
}

}  // namespace data
