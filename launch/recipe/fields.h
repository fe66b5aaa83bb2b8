// The recipe as one flat list of keys: reader, writer and `--keys` walk this list and know no section by name.
// defines: FieldPointer, RecipeField, fields_of, list_fields, section_names, type_name, legal_text
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "launch/recipe/recipe.h"
#include "parallel/base/field.h"
#include "parallel/base/span.h"
#include "parallel/base/weight.h"

namespace launch {

/// Where a field's value lives: a member of a config of the walked recipe.
using FieldPointer =
    std::variant<int64_t*, double*, bool*, std::string*, parallel::Span*, std::vector<int64_t>*, parallel::Weight*>;

struct RecipeField {
  std::string section;
  std::string key;
  FieldPointer value;
  parallel::Legal legal;
  std::string sentence;

  /// "moe.top_k"
  std::string name() const { return section + "." + key; }
};

/// The fields of one config, in the order of its visit(); valid as long as `config` stays where it is.
template <class Config>
std::vector<RecipeField> fields_of(const std::string& section, Config& config) {
  std::vector<RecipeField> fields;
  auto append = [&](const char* key, auto& value, parallel::Legal legal, const char* sentence) {
    fields.push_back({section, key, &value, std::move(legal), sentence});
  };
  visit(config, append);
  return fields;
}

/// The fields of every section, in the order in which they are written; valid as long as `recipe` stays where it is.
std::vector<RecipeField> list_fields(Recipe& recipe);

/// The sections of `fields`, each once, in order.
std::vector<std::string> section_names(const std::vector<RecipeField>& fields);

/// "integer", "number", "boolean", "text", "span", "integers" or "weight".
std::string type_name(const RecipeField& field);

/// What the field may hold, e.g. "1 to 1024", "above 0", "cpu, cuda", "any text".
std::string legal_text(const RecipeField& field);

}  // namespace launch
