// The recipe as one flat list of keys: reader, writer and `--keys` walk this list and know no section by name.
// defines: RecipeField, fields_of_section, list_fields, section_names, holds_text, type_name, legal_text, store_value
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/recipe/recipe.h"
#include "launch/toml/document.h"
#include "parallel/base/field.h"

namespace launch {

/// Whose keys a table of its own holds: [moe.thor] belongs to moe.router = "thor", [moe.load_balance] to
/// moe.losses.load_balance > 0.
struct Choice {
  std::string condition;          // as these two
  parallel::FieldPointer chosen;  // what the walked recipe says there
  std::function<bool()> taken;
};

struct RecipeField : parallel::Field {
  std::string section;
  std::optional<Choice> of = std::nullopt;  // none: legal in every recipe

  /// "moe.top_k", "moe.thor.inference"
  std::string name() const { return section + "." + key; }
  bool taken() const { return !of || of->taken(); }
};

/// The fields of one config as those of a section; valid as long as `config` stays where it is.
template <class Config>
std::vector<RecipeField> fields_of_section(const std::string& section, Config& config) {
  std::vector<RecipeField> fields;
  for (parallel::Field& field : parallel::fields_of(config)) fields.push_back({std::move(field), section});
  return fields;
}

/// The fields of every section, in the order in which they are written, those of choices that are not taken among them;
/// valid as long as `recipe` stays where it is.
std::vector<RecipeField> list_fields(Recipe& recipe);

/// The sections of `fields`, each once, in order.
std::vector<std::string> section_names(const std::vector<RecipeField>& fields);

/// Whether its value is text in TOML: any, or one of its legal names.
bool holds_text(const RecipeField& field);

/// "integer", "number", "boolean", "text", "span", "integers" or "weight".
std::string type_name(const RecipeField& field);

/// What the field may hold, e.g. "1 to 1024", "above 0", "cpu, cuda", "any text".
std::string legal_text(const RecipeField& field);

/// Turns a document's value into the field's type and stores it. UserError with `place`: a value of another type, out
/// of range, an unknown name.
void store_value(const RecipeField& field, const DocumentValue& value, const std::string& place);

}  // namespace launch
