// A TOML document as a flat list of entries with their places; toml++ is known to document.cpp only.
// defines: DocumentValue, EntryKind, DocumentEntry, parse_document, Reading, parse_value, shortened
#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace launch {

/// A TOML value. What no field can hold (tables, dates, mixed lists) is std::monostate.
struct DocumentValue {
  std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<int64_t>> content;
  std::string kind;  // "integer", "float", "text", "boolean", "array", "table", "date" ...
  std::string text;  // as TOML, shortened; empty for a table

  /// For messages: "integer 5", "text \"abc\"", "a table".
  std::string describe() const;
};

enum class EntryKind {
  kSection,  // the section itself, such as moe or moe.thor; its keys follow
  kKey,
  kStray,  // a key outside of any section; `section` is empty
};

struct DocumentEntry {
  EntryKind kind = EntryKind::kKey;
  std::string place;  // "recipe.toml:12"
  std::string section;
  std::string key;
  DocumentValue value;
};

/// All entries, in the order of the file. UserError: not TOML, not UTF-8, a key or section set twice; with file, line
/// and column.
std::vector<DocumentEntry> parse_document(const std::string& text, const std::string& name);

/// kText: numbers and booleans are taken as text too, so that a folder may be called 2024 on the command line.
enum class Reading { kTyped, kText };

/// One value as the command line gives it: TOML, or else a bare word, which is text. UserError with `place`: an opened
/// quote, list or table that does not end well, or text that is not UTF-8.
DocumentValue parse_value(const std::string& text, Reading reading, const std::string& place);

/// The text, or its beginning and "..." where it is long.
std::string shortened(const std::string& text);

}  // namespace launch
