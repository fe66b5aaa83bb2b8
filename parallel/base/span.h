// Quantities carry their unit in the value: "2000u" updates, "5e6t" tokens, "3e" epochs.
// defines: Unit, Span, parse_span, to_string
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace parallel {

enum class Unit { kUpdates, kTokens, kEpochs };

struct Span {
  int64_t count = 0;
  Unit unit = Unit::kUpdates;
  bool operator==(const Span&) const = default;
};

/// Reads "2000u", "5e6t", "1.5e6t" (whole after scaling), "3e". A bare number, a fraction, a negative count or an
/// unknown unit is a UserError that quotes the text and shows legal ones.
Span parse_span(std::string_view text);
std::string to_string(const Span& span);

/// What turns tokens and epochs into updates.
struct SpanScale {
  int64_t tokens_per_update = 1;
  int64_t tokens_per_epoch = 1;
};

/// The number of updates that cover the span (rounded up).
int64_t to_updates(const Span& span, const SpanScale& scale);

}  // namespace parallel
