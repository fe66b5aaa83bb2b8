#include "data/prepare/text_source.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "data/prepare/file_bytes.h"
#include "data/tokenizers/utf8.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

/// The string member `key` of a line's object, or null where it is absent.
const std::string* string_member(const nlohmann::json& object, const char* key, const std::string& place) {
  const auto member = object.find(key);
  if (member == object.end()) return nullptr;
  if (!member->is_string()) parallel::user_error(place, ": \"", key, "\" is ", member->type_name(), ", not a string");
  return member->get_ptr<const std::string*>();
}

/// Of its text: the same texts in another folder are ordered and split alike.
SourceDocument text_document(const std::string& name, const std::string& group, std::string text) {
  const std::string identity = std::to_string(parallel::hash_name(text));
  return {name, identity, identity, group, std::move(text)};
}

SourceDocument json_document(std::string_view line, const std::string& place, const std::string& group) {
  const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded() || !object.is_object()) {
    parallel::user_error(place, ": not a JSON object; each line must be one, such as {\"text\": \"...\"}");
  }
  const std::string* text = string_member(object, "text", place);
  const std::string* language = string_member(object, "language", place);
  if (text == nullptr) parallel::user_error(place, ": the object has no \"text\"");
  if (language != nullptr && (language->empty() || language->find('\0') != std::string::npos)) {
    parallel::user_error(place, ": \"language\" is empty or holds a zero byte");
  }
  return text_document(place, language != nullptr ? *language : group, *text);
}

std::vector<SourceDocument> json_documents(std::string_view content, const std::string& path,
                                           const std::string& group) {
  std::vector<SourceDocument> documents;
  for (int64_t number = 1; !content.empty(); ++number) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    documents.push_back(json_document(line, parallel::concat(path, ":", number), group));
  }
  return documents;
}

bool holds_json_lines(std::filesystem::path path) {
  if (path.extension() == ".gz") path.replace_extension();
  return path.extension() == ".jsonl" || path.extension() == ".json";
}

}  // namespace

std::vector<SourceDocument> read_text_file(const std::filesystem::path& path, const TextFileOptions& options) {
  std::string content = read_bytes(path, options.most_bytes);
  if (valid_utf8_prefix(content) != content.size()) {
    parallel::user_error(path.string(), ": not UTF-8: ", describe_utf8_fault(content),
                         path.extension() == ".gz" ? " of the unpacked text" : "");
  }
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
  if (holds_json_lines(path)) return json_documents(content, path.string(), options.group);
  return {text_document(path.string(), options.group, std::move(content))};
}

}  // namespace data
