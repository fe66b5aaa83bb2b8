// defines: Recompute: which activations backward makes again
#pragma once
#include <array>

namespace moetrain {

/// Of each block: nothing, the half with the experts, or all of it. What is made again costs its forward once more.
enum class Recompute { kNone, kMoe, kBlock };
constexpr std::array<const char*, 3> names_of(Recompute) { return {"none", "moe", "block"}; }

}  // namespace moetrain
