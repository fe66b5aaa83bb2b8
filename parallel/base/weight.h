// A loss's weight may hold for a part of the run: "0.01 from 100u until 2000u".
// defines: Weight, parse_weight, to_string
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace parallel {

/// A number, and the updates in which it holds: `from` <= update < `until`, counted from 0.
struct Weight {
  static constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
  double value = 0;
  int64_t from = 0;
  int64_t until = kForever;

  // A plain number is a weight for the whole run, so that configs are written as before: `.router_z = 0.001`.
  Weight(double value = 0, int64_t from = 0, int64_t until = kForever) : value(value), from(from), until(until) {}

  /// Whether it is above 0 in any update.
  bool is_on() const { return value > 0; }
  /// What it is in update `update`; 0 outside of its window.
  double at(int64_t update) const { return from <= update && update < until ? value : 0; }
  bool has_window() const { return from != 0 || until != kForever; }
  bool operator==(const Weight&) const = default;
};

/// Reads "0.01", "0.01 from 100u", "0.01 until 2000u" and "0.01 from 100u until 2000u". Updates are the only unit, for
/// a window in tokens would fall between updates. Anything else, or a window that holds no update, is a UserError that
/// quotes the text and shows legal ones.
Weight parse_weight(std::string_view text);
/// The shortest text that parse_weight reads as the same value.
std::string to_string(const Weight& weight);

}  // namespace parallel
