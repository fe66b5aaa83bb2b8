// defines: Part, SplitBehavior, split_behavior, parts_by_matches, parts_by_character, append_split
#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "data/shaping/pieces.h"
#include "data/text/json_value.h"
#include "data/text/regex.h"

namespace data {

/// A stretch of a text, which matches a pattern or lies between two matches. Parts cover their text.
struct Part {
  size_t begin = 0;
  size_t end = 0;
  bool matches = false;
};

/// What becomes of the matches (of tokenizer.json's "behavior").
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// The behavior that a text names, or the default where there is none. UserError for another name.
SplitBehavior split_behavior(const JsonValue& value, SplitBehavior fallback);

void parts_by_matches(std::string_view text, const Regex& pattern, std::vector<Part>& parts);
/// Each character for which `is_match` holds is a match of its own.
void parts_by_character(std::string_view text, const std::function<bool(char32_t)>& is_match, std::vector<Part>& parts);

/// Cuts `span`, whose text the parts cover.
void append_split(const Span& span, std::vector<Part>& parts, SplitBehavior behavior, std::vector<Span>& spans);

}  // namespace data
