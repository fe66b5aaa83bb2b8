#include "data/shaping/splitting.h"

#include <algorithm>

#include "data/text/utf8.h"

namespace data {
namespace {

void merge_contiguous(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.matches == previous && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous = part.matches;
  }
  parts = std::move(merged);
}

void merge_with_previous(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.matches && !previous && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous = part.matches;
  }
  parts = std::move(merged);
}

void merge_with_next(std::vector<Part>& parts) {
  std::vector<Part> merged;  // from the end
  bool next = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->matches && !next && !merged.empty()) {
      merged.back().begin = part->begin;
    } else {
      merged.push_back(*part);
    }
    next = part->matches;
  }
  std::reverse(merged.begin(), merged.end());
  parts = std::move(merged);
}

}  // namespace

SplitBehavior split_behavior(const JsonValue& value, SplitBehavior fallback) {
  static const parallel::NameTable<SplitBehavior> known{"behavior",
                                                        {{"Removed", SplitBehavior::kRemoved},
                                                         {"Isolated", SplitBehavior::kIsolated},
                                                         {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
                                                         {"MergedWithNext", SplitBehavior::kMergedWithNext},
                                                         {"Contiguous", SplitBehavior::kContiguous}}};
  return value.is_null() ? fallback : value.pick_text(known);
}

void parts_by_matches(std::string_view text, const Regex& pattern, std::vector<Part>& parts) {
  std::vector<TextRange> matches;
  pattern.find_all(text, matches);
  size_t done = 0;
  for (const TextRange& match : matches) {
    if (done != match.begin) parts.push_back({done, match.begin, false});
    parts.push_back({match.begin, match.end, true});
    done = match.end;
  }
  if (done != text.size()) parts.push_back({done, text.size(), false});
}

void parts_by_character(std::string_view text, const std::function<bool(char32_t)>& is_match,
                        std::vector<Part>& parts) {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!is_match(next_code_point(text, at))) continue;
    if (done != begin) parts.push_back({done, begin, false});
    parts.push_back({begin, at, true});
    done = at;
  }
  if (done != text.size()) parts.push_back({done, text.size(), false});
}

void append_split(const Span& span, std::vector<Part>& parts, SplitBehavior behavior, std::vector<Span>& spans) {
  if (behavior == SplitBehavior::kContiguous) merge_contiguous(parts);
  if (behavior == SplitBehavior::kMergedWithPrevious) merge_with_previous(parts);
  if (behavior == SplitBehavior::kMergedWithNext) merge_with_next(parts);
  for (const Part& part : parts) {
    if (behavior == SplitBehavior::kRemoved && part.matches) continue;
    Pieces::add(spans, span, span.begin + part.begin, span.begin + part.end);
  }
}

}  // namespace data
