// What toml++ 3.3 does not refuse by itself: found beforehand, by a scan that knows strings and comments only.
// defines: Obstacle, find_obstacle
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace launch {

struct Obstacle {
  int64_t line = 1;
  std::string reason;
};

/// The first of: a header without a name ("[=]": a failed assertion), a character that is not ASCII outside of quotes
/// and comments (undefined behaviour), thousands of dots outside of them (keys so deep that their destruction
/// overflows the stack). None of these is TOML that a recipe can hold.
std::optional<Obstacle> find_obstacle(std::string_view text);

}  // namespace launch
