// defines: kSpaceMark, bytes_with_spaces, has_inner_space
#pragma once
#include <cstdint>
#include <string_view>

namespace data {

constexpr std::string_view kSpaceMark = "\u2581";  // a space inside pieces of SentencePiece and its like

/// Size of a piece's text, whose marks are spaces [bytes].
inline int64_t bytes_with_spaces(std::string_view piece) {
  auto bytes = static_cast<int64_t>(piece.size());
  for (size_t at = piece.find(kSpaceMark); at != std::string_view::npos;
       at = piece.find(kSpaceMark, at + kSpaceMark.size())) {
    bytes -= static_cast<int64_t>(kSpaceMark.size()) - 1;
  }
  return bytes;
}

/// A space behind another character, or one that is not marked.
inline bool has_inner_space(std::string_view piece) {
  if (piece.find(' ') != std::string_view::npos) return true;
  while (piece.starts_with(kSpaceMark)) piece.remove_prefix(kSpaceMark.size());
  return piece.find(kSpaceMark) != std::string_view::npos;
}

}  // namespace data
