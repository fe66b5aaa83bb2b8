// Recipes are read strictly: whatever is not understood is a UserError with place, key, value and what would be legal.
// defines: RecipeReading, read_recipe, parse_recipe, read_fields, read_text, set_field
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launch/recipe/fields.h"
#include "launch/recipe/recipe.h"

namespace launch {

struct RecipeReading {
  /// What names mean, and which choices have tables of their own.
  std::shared_ptr<const Registry> registry = builtin_registry();
  /// Of a recipe that a run has written: keys that have moved since are read as they were meant. In a user's they are
  /// errors that name the new place.
  bool any_version = false;
  /// Given what was read, the recipe of what train.start names, whose [model], [attention] and [moe] hold where neither
  /// the recipe nor an override says anything. Null: nothing of the kind is read.
  std::function<Recipe(const Recipe& read)> start = {};
};

/// Reads a TOML recipe; a key it does not name keeps its default. Then `overrides` are applied in order, each the text
/// after `--set`: "moe.top_k=4". Their value is TOML, or else a bare word: "run.folder=runs/x", "train.length=5e6t".
/// Checks each field by itself; rules across fields are check_rules().
///
/// Sections [stage.NAME] are read against the keys of the recipe as it then stands (Recipe::stages).
///
/// UserError: no such file, a directory, not readable, more than 1 MiB; TOML syntax or a key set twice (file, line and
/// column); unknown section or key (with the nearest known one); a key of a choice that is not taken; wrong type, value
/// out of range, unknown name (with file and line, or the override's text).
Recipe read_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides = {},
                   const RecipeReading& reading = {});

/// The same for text that is already in memory; messages call it `name`.
Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides = {},
                    const RecipeReading& reading = {});

/// The TOML `text` into `fields`, of a recipe or of any other file that is a list of sections and keys. Returns the
/// names of those that it gives, in its order. UserError as above.
std::vector<std::string> read_fields(const std::vector<RecipeField>& fields, const std::string& text,
                                     const std::string& name);

/// A file of at most 1 MiB (of a larger one a byte more). UserError as above.
std::string read_text(const std::filesystem::path& file);

/// What `--set` does to one field; messages begin with `place`. UserError as above.
void set_field(const RecipeField& field, const std::string& value, const std::string& place);

}  // namespace launch
