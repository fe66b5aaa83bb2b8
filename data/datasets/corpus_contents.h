// defines: CorpusContents, FormatNames, join_names, split_names: what a token file holds, shared by corpus and streams
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/chat/chat_template.h"
#include "data/datasets/mapped_file.h"
#include "data/datasets/split.h"
#include "data/datasets/token_view.h"
#include "data/images/image.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

/// D documents. Only `tokens` stays in the file; the rest is a few dozen bytes for each document.
struct CorpusContents {
  std::string path;  // for messages
  std::unique_ptr<MappedFile> file;
  TokenView tokens;
  std::vector<int64_t> offsets;     // [D + 1], document d is tokens [offsets[d], offsets[d + 1])
  std::vector<int32_t> group;       // [D]
  std::vector<int64_t> bytes;       // [D], bytes of text
  std::vector<uint8_t> split;       // [D], a Split
  std::vector<std::string> name;    // [D]
  std::vector<std::string> groups;  // G of them
  std::vector<int64_t> alignment;   // [R * G], row-major: the row's document in each group, or -1; empty: no alignment
  const std::byte* learned = nullptr;  // [tokens] of the file: 1 where a model is to say the token; null: all are
  std::optional<ChatForm> chat;        // what conversations were written by
  std::optional<ImageShape> image;     // where the documents are images: their bytes, row by row, and an end
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string tokenizer_hash;
  std::string fingerprint;

  int64_t documents() const { return static_cast<int64_t>(group.size()); }
  int64_t aligned_rows() const { return static_cast<int64_t>(alignment.size() / groups.size()); }
  int64_t aligned_document(int64_t row, int64_t group_index) const {
    return alignment[static_cast<size_t>(row) * groups.size() + static_cast<size_t>(group_index)];
  }
  bool is_learned(int64_t token) const { return learned == nullptr || learned[token] != std::byte{0}; }
  /// The split of a row is that of any document in it.
  Split split_of_row(int64_t row) const;
};

/// The names inside a token file.
struct FormatNames {
  static constexpr const char* kFormat = "moetrain tokens";
  static constexpr const char* kVersion = "1";
  static constexpr const char* kVersionOfChats = "2";  // as 1, with kLearned and kChat, which no reader may pass over
  static constexpr const char* kTokens = "/documents/tokens";
  static constexpr const char* kOffsets = "/documents/offsets";
  static constexpr const char* kGroup = "/documents/group";
  static constexpr const char* kBytes = "/documents/bytes";
  static constexpr const char* kSplit = "/documents/split";
  static constexpr const char* kName = "/documents/name";
  static constexpr const char* kGroups = "/groups";
  static constexpr const char* kAlignment = "/alignment";
  static constexpr const char* kAligned = "/alignment/documents";
  static constexpr const char* kLearned = "/documents/learned";
  static constexpr const char* kChat = "/chat";
  static constexpr const char* kImages = "/images";
  static constexpr const char* kTokenizer = "/tokenizer";
  static constexpr const char* kModel = "/tokenizer/model";
};

/// Each name followed by a zero byte. Names hold none: they are paths and labels.
std::string join_names(const std::vector<std::string>& names);
std::vector<std::string> split_names(std::string_view joined);

}  // namespace data
