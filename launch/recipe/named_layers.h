// Sections [layer.NAME]: as many kinds of layers as a recipe has, each saying what it has otherwise than [moe].
// defines: take_layer_names, name_layers, inherit_layers, copy_value
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "launch/recipe/fields.h"
#include "launch/toml/document.h"

namespace launch {

/// The NAMEs of all sections [layer.NAME] and [layer.NAME.TABLE] of a document and of overrides "layer.NAME.key=value",
/// each once, in order; entries that only open [layer] are taken away. UserError with its place: a key of [layer]
/// itself, a NAME of other than letters, digits, _ and -.
std::vector<std::string> take_layer_names(std::vector<DocumentEntry>& entries,
                                          const std::vector<std::string>& overrides);

/// Gives the recipe a layer of each name. @pre it has none
void name_layers(Recipe& recipe, const std::vector<std::string>& names);

/// The value of [moe]'s key in each field of [layer.NAME] that is not said; of its tables likewise.
void inherit_layers(const std::vector<RecipeField>& fields, const std::function<bool(const RecipeField&)>& said);

/// Stores the value of one field in another of the same type.
void copy_value(const RecipeField& from, const RecipeField& to);

}  // namespace launch
