// defines: take_line, cut_at_lines
#pragma once
#include <algorithm>
#include <string_view>
#include <vector>

namespace data {

/// The first line of `rest`, without its end, which is taken off too. @pre not empty
inline std::string_view take_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

/// A text in stretches of about so many bytes, each of whole lines with their ends.
inline std::vector<std::string_view> cut_at_lines(std::string_view text, size_t bytes) {
  std::vector<std::string_view> stretches;
  while (!text.empty()) {
    const size_t end = text.size() <= bytes ? std::string_view::npos : text.find('\n', bytes - 1);
    stretches.push_back(text.substr(0, end == std::string_view::npos ? end : end + 1));
    text.remove_prefix(stretches.back().size());
  }
  return stretches;
}

}  // namespace data
