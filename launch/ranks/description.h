// defines: describe
#pragma once
#include <string>

#include "launch/recipe/recipe.h"

namespace launch {

/// The model of a recipe in one line, for people: blocks, width, experts, precision.
std::string describe(const Recipe& recipe, int64_t vocabulary);

}  // namespace launch
