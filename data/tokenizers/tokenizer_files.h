// The files of a model's own tokenizer, carried along as they came.
// defines: TokenizerFiles, tokenizer_file_names, serialize_files, parse_files, end_of_text_name,
// end_of_text_number
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace data {

using TokenizerFiles = std::map<std::string, std::string>;  // name -> content

constexpr size_t kMostTokenizerFileBytes = size_t{128} << 20;  // the largest one known has 33 MB
constexpr const char* kTokenizerJson = "tokenizer.json";
constexpr const char* kSentencePieceModel = "tokenizer.model";

/// The names that belong to a tokenizer in a Hugging Face folder.
const std::vector<std::string>& tokenizer_file_names();

/// For each file its name, a newline, its size in bytes, a newline, and its bytes; read back, or a UserError.
std::string serialize_files(const TokenizerFiles& files);
TokenizerFiles parse_files(const std::string& serialized);

/// Which piece ends a text, by tokenizer_config.json or special_tokens_map.json; which token, by generation_config.json
/// or config.json (of a list the first). `folder` stands before the names in messages.
std::optional<std::string> end_of_text_name(const TokenizerFiles& files, const std::string& folder);
std::optional<int64_t> end_of_text_number(const TokenizerFiles& files, const std::string& folder);

}  // namespace data
