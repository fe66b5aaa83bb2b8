// How a config lists its fields once: recipe reader, writer, `--keys` and rules all walk that list.
// defines: Legal, at_least, above, between, half_open, anything, FieldPointer, Field, fields_of
#pragma once
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "parallel/base/enum.h"
#include "parallel/base/span.h"
#include "parallel/base/weight.h"

namespace parallel {

/// What values a field may take; printed by `moetrain train --keys` and by the error for a value outside.
struct Legal {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_is_legal = true;
  bool high_is_legal = true;
  std::vector<std::string> names;  // of an Enum, or of a text that names a table's row; empty: any text is legal

  /// False also for NaN.
  bool contains(double value) const {
    return (low_is_legal ? value >= low : value > low) && (high_is_legal ? value <= high : value < high);
  }
};

inline Legal anything() { return {}; }
inline Legal at_least(double low) { return {.low = low, .names = {}}; }
inline Legal above(double low) { return {.low = low, .low_is_legal = false, .names = {}}; }
inline Legal between(double low, double high) { return {.low = low, .high = high, .names = {}}; }
/// From `low` up to, and without, `high`.
inline Legal half_open(double low, double high) {
  return {.low = low, .high = high, .high_is_legal = false, .names = {}};
}

// A config declares its fields, beside its struct, by a template
//
//   template <class Visitor>
//   void visit(TopKConfig& config, Visitor& field) {
//     field("top_k", config.top_k, parallel::at_least(1), "experts per token");
//   }
//
// Its default is the member's initializer. A Legal bound on a vector holds for every element, a bound on a Span for its
// count, one on a Weight for its number.

/// Where a field's value lives: a member of a config.
using FieldPointer =
    std::variant<int64_t*, double*, bool*, std::string*, Span*, std::vector<int64_t>*, Weight*, EnumValue*>;

struct Field {
  std::string key;
  FieldPointer value;
  Legal legal;
  std::string sentence;
};

/// The fields of one config, in the order of its visit(); valid as long as `config` stays where it is.
template <class Config>
std::vector<Field> fields_of(Config& config) {
  std::vector<Field> fields;
  auto append = [&](const char* key, auto& value, Legal legal, const char* sentence) {
    if constexpr (std::derived_from<std::remove_reference_t<decltype(value)>, EnumValue>) legal.names = value.names();
    fields.push_back({key, &value, std::move(legal), sentence});
  };
  visit(config, append);
  return fields;
}

}  // namespace parallel
