// defines: toml_document, write_recipe, written_keys, recipe_hash, hash_text
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "launch/recipe/fields.h"
#include "launch/recipe/recipe.h"

namespace launch {

/// A line for each field under its section's head, in their order. Fields of one section stand together.
std::string toml_document(const std::vector<RecipeField>& fields);

/// The resolved recipe: every key of every section with its value, of choices only those that are taken, and what its
/// stages say otherwise. parse_recipe
/// accepts it and gives an equal Recipe; doubles are written in their shortest exact form, so equal recipes have equal
/// text.
std::string write_recipe(const Recipe& recipe);

/// The same as (name, value) such as ("moe.top_k", "2") or ("stage.first.train.length", "\"200u\""), in its order.
std::vector<std::pair<std::string, std::string>> written_keys(const Recipe& recipe);

/// Hash (64-bit FNV-1a) of the resolved text without run.folder: the same run elsewhere has the same hash.
uint64_t recipe_hash(const Recipe& recipe);

/// 16 lower-case hexadecimal digits.
std::string hash_text(uint64_t hash);

}  // namespace launch
