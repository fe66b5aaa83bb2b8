// defines: take_line
#pragma once
#include <algorithm>
#include <string_view>

namespace data {

/// The first line of `rest`, without its end, which is taken off too. @pre not empty
inline std::string_view take_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

}  // namespace data
