// defines: trimmed, split: texts that users give as lists, such as "embedding.*: 0.1, *.router.*: 0.5"
#pragma once
#include <algorithm>
#include <string_view>
#include <vector>

namespace parallel {

/// Without the blanks at both ends.
inline std::string_view trimmed(std::string_view text, const char* blanks = " \t") {
  const size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// The items between the separators, empty ones too: of an empty text one.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> items;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

}  // namespace parallel
