#include "parallel/base/span.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

[[noreturn]] void refuse(std::string_view text) {
  user_error("'", text,
             "' is not a quantity with a unit; legal: \"2000u\" (updates), \"5e6t\" (tokens), \"3e\" (epochs)");
}

Unit parse_unit(std::string_view text) {
  switch (text.empty() ? ' ' : text.back()) {
    case 'u':
      return Unit::kUpdates;
    case 't':
      return Unit::kTokens;
    case 'e':
      return Unit::kEpochs;
    default:
      refuse(text);
  }
}

}  // namespace

Span parse_span(std::string_view text) {
  const Unit unit = parse_unit(text);
  const std::string_view digits = text.substr(0, text.size() - 1);
  double count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  constexpr double kLargest = 9e15;  // whole numbers are exact in a double up to here
  const bool whole = std::isfinite(count) && count == std::floor(count) && count >= 0 && count <= kLargest;
  if (error != std::errc{} || end != digits.data() + digits.size() || !whole) refuse(text);
  return {static_cast<int64_t>(count), unit};
}

std::string to_string(const Span& span) {
  const char* unit = span.unit == Unit::kUpdates ? "u" : span.unit == Unit::kTokens ? "t" : "e";
  return std::to_string(span.count) + unit;
}

int64_t to_updates(const Span& span, const SpanScale& scale) {
  if (span.unit == Unit::kUpdates) return span.count;
  const double tokens = static_cast<double>(span.count) *
                        (span.unit == Unit::kTokens ? 1.0 : static_cast<double>(scale.tokens_per_epoch));
  constexpr double kLargest = 9e15;  // where nobody waits for the end any more
  return static_cast<int64_t>(std::min(kLargest, std::ceil(tokens / static_cast<double>(scale.tokens_per_update))));
}

}  // namespace parallel
