// defines: TokenCorpusWriter, Overwrite, require_writable
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/datasets/token_corpus.h"

namespace data {

enum class Overwrite { kRefuse, kReplace };

/// UserError where `path` exists (unless kReplace), is no file, or its folder does not exist.
void require_writable(const std::filesystem::path& path, Overwrite overwrite);

/// Gathers documents in memory (2 or 4 bytes a token) and writes the token file at the end: to a temporary name in the
/// same folder, flushed to the disk, then renamed. A failure leaves neither the temporary nor a changed output.
class TokenCorpusWriter {
 public:
  /// @pre: require_writable(path, overwrite), checked; `groups` is not empty
  TokenCorpusWriter(std::filesystem::path path, std::shared_ptr<const Tokenizer> tokenizer,
                    std::vector<std::string> groups, Overwrite overwrite = Overwrite::kRefuse);

  /// `tokens`: what encode gave, without end_of_text, which is added here; `info.tokens` is ignored. `learned`: of each
  /// token and of the end, 1 where a model is to say it; empty: nothing is said of that. Gives back the document's
  /// index.
  /// @pre: `learned` of all documents after set_chat(), and of none without
  int64_t add(const DocumentInfo& info, const std::vector<int32_t>& tokens, const std::vector<uint8_t>& learned = {});
  /// One row of documents that are translations of each other: an index for each group, -1 where it has none.
  /// @pre: what read_alignment asks of a row; only its length is checked here
  void align(const std::vector<int64_t>& documents);
  /// Says what conversations were written by. Before the first document.
  void set_chat(const ChatForm& form) { chat_ = form; }
  /// Says that every document is an image of this shape, its tokens the bytes of its pixels.
  void set_images(const ImageShape& shape) { image_ = shape; }
  /// Writes the file. UserError where the disk is full or the folder not writable.
  void finish();

 private:
  void write_contents(const std::filesystem::path& temporary) const;

  std::filesystem::path path_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> groups_;
  Overwrite overwrite_;
  std::vector<uint16_t> narrow_tokens_;  // one of the two is filled, by the size of the vocabulary
  std::vector<uint32_t> wide_tokens_;
  std::vector<int64_t> offsets_{0};
  std::vector<int32_t> group_;
  std::vector<int64_t> bytes_;
  std::vector<uint8_t> split_;
  std::vector<std::string> name_;
  std::vector<int64_t> alignment_;
  std::vector<uint8_t> learned_;
  std::optional<ChatForm> chat_;
  std::optional<ImageShape> image_;
};

}  // namespace data
