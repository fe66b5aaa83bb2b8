// defines: rank_list: many ranks in few words
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace parallel {

/// "0-3, 7": ascending numbers, neighbours as a range.
inline std::string rank_list(const std::vector<int64_t>& ranks) {
  std::string text;
  for (size_t first = 0; first < ranks.size();) {
    size_t last = first;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(ranks[first]);
    if (last > first) text += "-" + std::to_string(ranks[last]);
    first = last + 1;
  }
  return text;
}

}  // namespace parallel
