// defines: CorpusContents, FormatNames, join_names, split_names: what a token file holds, shared by corpus and streams
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/datasets/mapped_file.h"
#include "data/datasets/token_view.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

/// D documents. Only `tokens` stays in the file; the rest is a few dozen bytes for each document.
struct CorpusContents {
  std::unique_ptr<MappedFile> file;
  TokenView tokens;
  std::vector<int64_t> offsets;   // [D + 1], document d is tokens [offsets[d], offsets[d + 1])
  std::vector<int32_t> group;     // [D]
  std::vector<int64_t> bytes;     // [D], bytes of text
  std::vector<uint8_t> split;     // [D], a Split
  std::vector<std::string> name;  // [D]
  std::vector<std::string> groups;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string tokenizer_hash;
  std::string fingerprint;

  int64_t documents() const { return static_cast<int64_t>(group.size()); }
};

/// The names inside a token file.
struct FormatNames {
  static constexpr const char* kFormat = "moetrain tokens";
  static constexpr const char* kVersion = "1";
  static constexpr const char* kTokens = "/documents/tokens";
  static constexpr const char* kOffsets = "/documents/offsets";
  static constexpr const char* kGroup = "/documents/group";
  static constexpr const char* kBytes = "/documents/bytes";
  static constexpr const char* kSplit = "/documents/split";
  static constexpr const char* kName = "/documents/name";
  static constexpr const char* kGroups = "/groups";
  static constexpr const char* kTokenizer = "/tokenizer";
  static constexpr const char* kModel = "/tokenizer/model";
};

/// Each name followed by a zero byte. Names hold none: they are paths and labels.
std::string join_names(const std::vector<std::string>& names);
std::vector<std::string> split_names(std::string_view joined);

}  // namespace data
