// defines: write_recipe, recipe_hash, hash_text
#pragma once
#include <cstdint>
#include <string>

#include "launch/recipe/recipe.h"

namespace launch {

/// The resolved recipe: every key of every section with its value. parse_recipe accepts it and gives an equal Recipe;
/// doubles are written in their shortest exact form, so equal recipes have equal text.
std::string write_recipe(const Recipe& recipe);

/// Hash (64-bit FNV-1a) of the resolved text without run.folder: the same run elsewhere has the same hash.
uint64_t recipe_hash(const Recipe& recipe);

/// 16 lower-case hexadecimal digits.
std::string hash_text(uint64_t hash);

}  // namespace launch
