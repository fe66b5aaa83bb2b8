#include "launch/toml/document.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "launch/toml/toml_guard.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"

namespace launch {

/// Some broken TOML is caught by nothing but an assertion of toml++ 3.3.
struct TomlAssertion {};
[[noreturn]] inline void refuse_toml() { throw TomlAssertion(); }

}  // namespace launch

// The header-only form, also where a package asks for its library: only here can its assertions throw.
#undef NDEBUG
#undef TOML_SHARED_LIB
#undef TOML_HEADER_ONLY
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : launch::refuse_toml())
#include <toml++/toml.h>

namespace launch {
namespace {

using parallel::user_error;

std::string place_of(const std::string& name, const toml::source_position& position) {
  return name + ":" + std::to_string(position.line);
}

std::optional<std::vector<int64_t>> integers_of(const toml::array& array) {
  std::vector<int64_t> integers;
  for (const toml::node& element : array) {
    if (!element.is_integer()) return std::nullopt;
    integers.push_back(element.as_integer()->get());
  }
  return integers;
}

DocumentValue array_value(const toml::array& array) {
  DocumentValue value{.content = {}, .kind = "array", .text = {}};
  if (auto integers = integers_of(array)) {
    value.text = shortened(toml_text(&*integers));
    value.content = std::move(*integers);
  }
  return value;
}

DocumentValue date_value(const toml::node& node) {
  std::ostringstream text;
  if (const auto* date = node.as_date()) text << date->get();
  if (const auto* time = node.as_time()) text << time->get();
  if (const auto* both = node.as_date_time()) text << both->get();
  return {.content = {}, .kind = node.is_time() ? "time" : "date", .text = text.str()};
}

DocumentValue value_of(const toml::node& node) {
  if (node.is_table()) return {.content = {}, .kind = "table", .text = {}};
  if (const auto* array = node.as_array()) return array_value(*array);
  if (const auto* flag = node.as_boolean()) {
    return {.content = flag->get(), .kind = "boolean", .text = flag->get() ? "true" : "false"};
  }
  if (const auto* integer = node.as_integer()) {
    return {.content = integer->get(), .kind = "integer", .text = std::to_string(integer->get())};
  }
  if (const auto* number = node.as_floating_point()) {
    double copy = number->get();
    return {.content = copy, .kind = "float", .text = toml_text(&copy)};
  }
  if (const auto* text = node.as_string()) {
    return {.content = text->get(), .kind = "text", .text = shortened(quoted_text(text->get()))};
  }
  return date_value(node);
}

/// toml++'s words for a repeated key or section, in ours.
std::string reason_of(const toml::parse_error& error) {
  const std::string reason(error.description());
  const size_t at = reason.find("cannot redefine existing ");
  if (at == std::string::npos) return reason;
  const size_t open = reason.find('\'', at);
  const size_t close = open == std::string::npos ? open : reason.find('\'', open + 1);
  if (close == std::string::npos) return "a key is set twice: " + reason.substr(at);
  return reason.substr(open, close - open + 1) + " is set twice; keep one of them";
}

void require_utf8(const std::string& text, const std::string& place) {
  try {
    static_cast<void>(toml::parse("value = " + quoted_text(text)));
  } catch (const toml::parse_error&) {
    user_error(place, ": the value is not UTF-8 text");
  }
}

toml::table parse_toml(const std::string& text, const std::string& name) {
  if (const auto obstacle = find_obstacle(text)) user_error(name, ":", obstacle->line, ": ", obstacle->reason);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    const auto& [line, column] = error.source().begin;
    user_error(name, ":", line, ":", column, ": ", reason_of(error));
  } catch (const TomlAssertion&) {
    user_error(name, ": not TOML: a malformed value such as a date or time that breaks off");
  }
}

using KeyAndNode = std::pair<const toml::key*, const toml::node*>;

/// toml++ keeps tables sorted by key; messages shall name the first fault of the file.
std::vector<KeyAndNode> in_file_order(const toml::table& table) {
  std::vector<KeyAndNode> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::ranges::stable_sort(entries, [](const KeyAndNode& a, const KeyAndNode& b) {
    return a.first->source().begin < b.first->source().begin;
  });
  return entries;
}

/// Its keys, then the tables in it as sections of their own, whose names have a dot.
void append_section(std::vector<DocumentEntry>& entries, const std::string& section, const std::string& place,
                    const toml::table& table, const std::string& name) {
  entries.push_back({EntryKind::kSection, place, section, "", {}});
  const std::vector<KeyAndNode> inside = in_file_order(table);
  for (const auto& [key, node] : inside) {
    if (node->is_table()) continue;
    const std::string key_place = place_of(name, key->source().begin);
    entries.push_back({EntryKind::kKey, key_place, section, std::string(key->str()), value_of(*node)});
  }
  for (const auto& [key, node] : inside) {
    if (!node->is_table()) continue;
    const std::string inner = section + "." + std::string(key->str());
    append_section(entries, inner, place_of(name, key->source().begin), *node->as_table(), name);
  }
}

}  // namespace

std::string DocumentValue::describe() const {
  return text.empty() ? (kind == "array" ? "an array" : "a " + kind) : kind + " " + text;
}

std::vector<DocumentEntry> parse_document(const std::string& text, const std::string& name) {
  const toml::table document = parse_toml(text, name);
  std::vector<DocumentEntry> entries;
  for (const auto& [section, content] : in_file_order(document)) {
    const std::string section_name(section->str());
    const std::string place = place_of(name, section->source().begin);
    const toml::table* table = content->as_table();
    if (!table) {
      entries.push_back({EntryKind::kStray, place, "", section_name, value_of(*content)});
      continue;
    }
    append_section(entries, section_name, place, *table, name);
  }
  return entries;
}

DocumentValue parse_value(const std::string& text, Reading reading, const std::string& place) {
  require_utf8(text, place);
  const DocumentValue word{.content = text, .kind = "text", .text = shortened(quoted_text(text))};
  if (text.find_first_of("\n\r\v\f") != std::string::npos) return word;  // it could set further keys
  try {
    const toml::table holder = parse_toml("value = " + text, place);
    DocumentValue value = value_of(*holder.get("value"));
    const bool composite = value.kind == "array" || value.kind == "table";
    return reading == Reading::kTyped || composite || value.kind == "text" ? value : word;
  } catch (const parallel::UserError&) {
    const size_t first = text.find_first_not_of(" \t");
    const std::string_view openers = "\"'[{";
    if (first != std::string::npos && openers.find(text[first]) != openers.npos) {
      user_error(place, ": begins with ", text[first], " but is no TOML value");
    }
    return word;
  }
}

std::string shortened(const std::string& text) {
  constexpr size_t kLongest = 60;
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a UTF-8 character
  return text.substr(0, end) + "...";
}

}  // namespace launch
