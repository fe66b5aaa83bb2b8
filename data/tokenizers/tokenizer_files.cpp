#include "data/tokenizers/tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "data/text/json_value.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr size_t kMostTokenizerFiles = 64;

/// The line that begins at `at`, which moves behind its newline.
std::string_view take_line(const std::string& text, size_t& at) {
  const size_t end = text.find('\n', at);
  if (end == std::string::npos) parallel::user_error("the tokenizer's files are cut off at byte ", at);
  const std::string_view line = std::string_view(text).substr(at, end - at);
  at = end + 1;
  return line;
}

/// Only these are ever written back, so that no file of a stranger can name another one.
bool is_known_file(const std::string& name) {
  const std::vector<std::string>& known = tokenizer_file_names();
  return name == "config.json" || name == "generation_config.json" ||
         std::find(known.begin(), known.end(), name) != known.end();
}

/// The JSON of a file; none where there is no such file.
nlohmann::json json_of(const TokenizerFiles& files, const std::string& name, const std::string& folder) {
  const auto found = files.find(name);
  return found == files.end() ? nlohmann::json::object() : parse_json(found->second, folder + name);
}

}  // namespace

const std::vector<std::string>& tokenizer_file_names() {
  static const std::vector<std::string> names{kTokenizerJson,
                                              kSentencePieceModel,
                                              "spiece.model",
                                              "sentencepiece.bpe.model",
                                              "tokenizer_config.json",
                                              "special_tokens_map.json",
                                              "added_tokens.json",
                                              "vocab.json",
                                              "merges.txt",
                                              "chat_template.jinja",
                                              "chat_template.json"};
  return names;
}

std::string serialize_files(const TokenizerFiles& files) {
  std::string serialized;
  for (const auto& [name, content] : files) {
    serialized += parallel::concat(name, '\n', content.size(), '\n');
    serialized += content;
  }
  return serialized;
}

TokenizerFiles parse_files(const std::string& serialized) {
  TokenizerFiles files;
  for (size_t at = 0; at < serialized.size();) {
    const std::string name(take_line(serialized, at));
    const std::string_view digits = take_line(serialized, at);
    size_t size = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
    const bool whole = error == std::errc() && end == digits.data() + digits.size();
    if (!whole || size > serialized.size() - at || !is_known_file(name)) {
      parallel::user_error("the tokenizer's files are damaged before byte ", at);
    }
    files[name] = serialized.substr(at, size);
    at += size;
    if (files.size() > kMostTokenizerFiles)
      parallel::user_error("a tokenizer of more than ", kMostTokenizerFiles, " files");
  }
  return files;
}

std::optional<std::string> end_of_text_name(const TokenizerFiles& files, const std::string& folder) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const nlohmann::json json = json_of(files, name, folder);
    const JsonValue token = JsonValue(json, folder + name)["eos_token"];
    if (token.is_null()) continue;
    return token.json().is_object() ? token["content"].text() : token.text();
  }
  return std::nullopt;
}

std::optional<int64_t> end_of_text_number(const TokenizerFiles& files, const std::string& folder) {
  constexpr int64_t kLargest = (int64_t{1} << 31) - 1;
  for (const char* name : {"generation_config.json", "config.json"}) {
    const nlohmann::json json = json_of(files, name, folder);
    const JsonValue token = JsonValue(json, folder + name)["eos_token_id"];
    if (token.is_null()) continue;
    if (!token.json().is_array()) return token.integer(0, kLargest);
    const std::vector<JsonValue> all = token.items(1024);
    if (!all.empty()) return all.front().integer(0, kLargest);
  }
  return std::nullopt;
}

}  // namespace data
