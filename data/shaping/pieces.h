// defines: Span, Pieces
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// A stretch of a normalised text, never empty.
struct Span {
  size_t begin = 0;  // [bytes]
  size_t end = 0;
  // So many bytes of it, from its begin on, stand for the very first character of the whole text: what some steps do
  // only there.
  size_t opening = 0;
};

/// A text on its way to the model: normalised, and cut into spans, each of which the model sees alone.
struct Pieces {
  std::string text;
  std::vector<Span> spans;

  std::string_view view(const Span& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
  /// Appends [begin, end) of the text as a piece of `of`, with its share of the opening. Nothing where it is empty.
  static void add(std::vector<Span>& spans, const Span& of, size_t begin, size_t end) {
    if (begin == end) return;
    const size_t opening_end = of.begin + of.opening;
    spans.push_back({begin, end, opening_end > begin ? opening_end - begin : 0});
  }
};

}  // namespace data
