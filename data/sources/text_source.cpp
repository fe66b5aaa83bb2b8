#include "data/sources/text_source.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "data/files/file_bytes.h"
#include "data/files/packing.h"
#include "data/files/parquet_rows.h"
#include "data/sources/json_line.h"
#include "data/sources/lines.h"
#include "data/sources/near_copies.h"
#include "data/sources/workers.h"
#include "data/text/utf8.h"
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
  const std::string key = std::to_string(parallel::hash_name(words_of(text)));
  return {name, identity, key, group, std::move(text)};
}

/// What is said in a conversation, for what is done by content: order, copies, what is held out, a vocabulary.
std::string said_in(const Conversation& conversation) {
  std::string text;
  for (const ChatMessage& message : conversation) text += message.content + "\n";
  return text;
}

/// The member that a dotted name means: "a.b" is "b" of the object "a", or a member that is called so; null where it is
/// absent.
const nlohmann::json* member_at(const nlohmann::json& object, const std::string& name) {
  if (!object.is_object()) return nullptr;
  if (const auto whole = object.find(name); whole != object.end()) return &*whole;
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const auto outer = object.find(name.substr(0, dot));
    if (outer == object.end()) continue;
    if (const nlohmann::json* inner = member_at(*outer, name.substr(dot + 1))) return inner;
  }
  return nullptr;
}

using MaybeText = std::optional<std::string_view>;

MaybeText text_of(const std::string* text) { return text == nullptr ? MaybeText() : MaybeText(*text); }

/// What a document says of its group, by whichever name.
std::string group_of(MaybeText language, MaybeText label, const std::string& place, const TextFileOptions& options) {
  if (language && label) {
    parallel::user_error(place, ": has a \"language\" and a \"label\", and one document has one group");
  }
  const MaybeText own = language ? language : label;
  if (own && (own->empty() || own->find('\0') != std::string::npos)) {
    parallel::user_error(place, ": \"", language ? "language" : "label", "\" is empty or holds a zero byte");
  }
  return own ? std::string(*own) : options.group;
}

std::string group_of(const nlohmann::json& object, const std::string& place, const TextFileOptions& options) {
  return group_of(text_of(string_member(object, "language", place)), text_of(string_member(object, "label", place)),
                  place, options);
}

/// Nothing where the object holds no conversation. UserError where it does, and nobody asked for them.
std::optional<SourceDocument> conversation_of(const nlohmann::json& object, const std::string& group,
                                              const std::string& place, const TextFileOptions& options) {
  std::optional<Conversation> conversation = read_conversation(object, place);
  if (!conversation) return std::nullopt;
  if (!options.conversations) {
    parallel::user_error(place, ": holds a conversation, which needs a template to be written by; legal: ",
                         "--chat-template with its name, such as chatml");
  }
  SourceDocument document = text_document(place, group, said_in(*conversation));
  document.messages = std::move(*conversation);
  return document;
}

SourceDocument json_document(std::string_view line, const std::string& place, const TextFileOptions& options) {
  const nlohmann::json object = parse_json_line(line, place);
  const std::string group = group_of(object, place, options);
  const nlohmann::json* text = member_at(object, options.field);
  if (text == nullptr) {
    if (auto conversation = conversation_of(object, group, place, options)) return std::move(*conversation);
    parallel::user_error(place, ": the object has no \"", options.field, "\"",
                         options.field == "text" ? " (prepare --field NAME takes another member)" : "",
                         ", no \"messages\" and no \"prompt\" with \"completion\"");
  }
  if (!text->is_string()) {
    parallel::user_error(place, ": \"", options.field, "\" is ", text->type_name(), ", not a string");
  }
  return text_document(place, group, text->get<std::string>());
}

/// A column's value as JSON lines hold it. What stands for messages may be their JSON, written as text.
nlohmann::json json_of(const ParquetText& value, bool messages, const std::string& place) {
  if (!value.json && !messages) return value.text;
  try {
    return nlohmann::json::parse(value.text);
  } catch (const nlohmann::json::exception&) {
    parallel::user_error(place,
                         ": \"messages\" is text, and no JSON; legal: a list of {\"role\": ..., \"content\": ...}, ",
                         "as lists of structs or as its JSON");
  }
}

/// A document of each row that has a text, or a conversation.
std::vector<SourceDocument> parquet_documents(const std::filesystem::path& path, const TextFileOptions& options) {
  constexpr const char* kMembers = "role content";
  const std::vector<ParquetColumn> columns = {
      {.name = "language"},
      {.name = "label"},
      {.name = options.field.c_str(), .choice = 1},
      {.name = "messages", .members = kMembers, .choice = 2},
      {.name = "prompt", .members = kMembers, .choice = 2},
      {.name = "completion", .members = kMembers, .choice = 2},
  };
  constexpr size_t kLanguage = 0, kLabel = 1, kField = 2, kMessages = 3;
  std::vector<SourceDocument> documents;
  int64_t bytes = 0;
  const auto take = [&](int64_t row, const std::vector<MaybeParquetText>& values) {
    const std::string place = parallel::concat(path.string(), ":", row + 1);
    nlohmann::json object = nlohmann::json::object();  // as a line would hold it
    for (size_t c = 0; c < columns.size(); ++c) {
      if (!values[c]) continue;
      const std::string_view text = values[c]->text;
      if (valid_utf8_prefix(text) != text.size()) {
        parallel::user_error(place, ": not UTF-8: ", describe_utf8_fault(text));
      }
      if (c >= kField) bytes += static_cast<int64_t>(text.size());
      if (c >= kMessages) object[columns[c].name] = json_of(*values[c], c == kMessages, place);
    }
    if (bytes > options.most_bytes) {
      parallel::user_error(path.string(), ": holds more than ", options.most_bytes, " bytes, the limit for a file");
    }
    const auto group = [&](size_t c) { return values[c] ? MaybeText(values[c]->text) : MaybeText(); };
    if (!values[kField] && object.empty()) return;
    const std::string own = group_of(group(kLanguage), group(kLabel), place, options);
    documents.push_back(values[kField] ? text_document(place, own, std::string(values[kField]->text))
                                       : *conversation_of(object, own, place, options));
  };
  read_parquet_rows(path, columns, take);
  return documents;
}

constexpr size_t kStretchBytes = 1 << 20;  // of JSON lines that a thread takes at a time

bool is_blank_line(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

std::vector<SourceDocument> json_documents(std::string_view content, const std::string& path,
                                           const TextFileOptions& options) {
  const std::vector<std::string_view> stretches = cut_at_lines(content, kStretchBytes);
  std::vector<int64_t> first_line = {1};
  for (const std::string_view stretch : stretches) {
    first_line.push_back(first_line.back() + std::ranges::count(stretch, '\n'));
  }
  std::vector<std::vector<SourceDocument>> read(stretches.size());
  for_each_index(std::ssize(stretches), options.threads, [&](int64_t index) {
    const auto s = static_cast<size_t>(index);
    std::string_view rest = stretches[s];
    for (int64_t number = first_line[s]; !rest.empty(); ++number) {
      const std::string_view line = take_line(rest);
      if (is_blank_line(line)) continue;
      read[s].push_back(json_document(line, parallel::concat(path, ":", number), options));
    }
  });
  std::vector<SourceDocument> documents;
  for (std::vector<SourceDocument>& some : read) {
    documents.insert(documents.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  }
  return documents;
}

void require_utf8(const std::string& content, const std::filesystem::path& path) {
  const size_t valid = valid_utf8_prefix(content);
  if (valid == content.size()) return;
  const auto line = 1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(valid), '\n');
  const bool packed = std::ranges::any_of(packings(), [&](const Packing& p) { return path.extension() == p.ending; });
  parallel::user_error(path.string(), ": not UTF-8: ", describe_utf8_fault(content),
                       packed ? " of the unpacked text" : "", ", in line ", line);
}

void note_zero_bytes(const std::string& content, const std::filesystem::path& path, std::vector<std::string>* notes) {
  const auto zeros = std::count(content.begin(), content.end(), '\0');
  if (zeros == 0 || notes == nullptr) return;
  notes->push_back(parallel::concat("'", path.string(), "' holds ", zeros,
                                    " zero bytes, which plain text does not; if it is UTF-16, write it in UTF-8."));
}

}  // namespace

bool begins_json_lines(std::string_view content, const std::string& field) {
  while (!content.empty()) {
    const std::string_view line = take_line(content);
    if (is_blank_line(line)) continue;
    if (line[line.find_first_not_of(" \t")] != '{') return false;
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) return false;
    const nlohmann::json* text = member_at(object, field);
    return (text != nullptr && text->is_string()) || (object.contains("messages") && object["messages"].is_array()) ||
           (object.contains("prompt") && object.contains("completion"));
  }
  return false;
}

bool is_named_json_lines(const std::filesystem::path& path) {
  const std::string name = without_packing(path);
  constexpr const char* kEndings[] = {".jsonl", ".ndjson", ".jsonlines", ".ldjson", ".jl", ".json"};
  return std::any_of(std::begin(kEndings), std::end(kEndings), [&](const char* end) { return name.ends_with(end); });
}

std::vector<SourceDocument> read_text_file(const std::filesystem::path& path, const TextFileOptions& options,
                                           std::vector<std::string>* notes) {
  if (is_parquet(path)) return parquet_documents(path, options);
  std::string content = read_bytes(path, options.most_bytes);
  require_utf8(content, path);
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
  const bool named = is_named_json_lines(path);
  if (named || begins_json_lines(content, options.field)) {
    if (!named && notes != nullptr) {
      notes->push_back("'" + path.string() +
                       "' is read as JSON lines, because its first line is an object with a text or a conversation.");
    }
    return json_documents(content, path.string(), options);
  }
  note_zero_bytes(content, path, notes);
  return {text_document(path.string(), options.group, std::move(content))};
}

}  // namespace data
