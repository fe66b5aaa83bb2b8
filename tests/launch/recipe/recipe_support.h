// What the recipe's tests share.
// defines: fault_of, recipe_fault, broken_rule, values_of, unusual_recipe
#pragma once
#include <string>
#include <variant>
#include <vector>

#include "launch/recipe/fields.h"
#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "parallel/base/fault.h"

namespace launch {

/// The message of the UserError that `action` throws; "no fault" where it throws none.
template <class Action>
std::string fault_of(Action action) {
  try {
    action();
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "no fault";
}

inline std::string recipe_fault(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return fault_of([&] { parse_recipe(text, "recipe.toml", overrides); });
}

using FieldValue = std::variant<int64_t, double, bool, std::string, parallel::Span, std::vector<int64_t>,
                                parallel::Weight, parallel::EnumValue>;

/// Every value of a recipe, in the order of its fields: recipes are compared by these.
/// What check_rules says of the defaults with a data file and these overrides.
inline std::string broken_rule(const std::vector<std::string>& overrides) {
  Recipe recipe = parse_recipe("[data]\nfile = \"tokens.h5\"\n", "recipe.toml", overrides);
  return fault_of([&] {
    check_rules(recipe);
    check_training(recipe);
  });
}

inline std::vector<FieldValue> values_of(Recipe recipe) {
  std::vector<FieldValue> values;
  for (const RecipeField& field : list_fields(recipe)) {
    std::visit([&](const auto* value) { values.emplace_back(*value); }, field.value);
  }
  return values;
}

/// Those of fields that its choices leave legal.
inline std::vector<FieldValue> taken_values_of(Recipe recipe) {
  std::vector<FieldValue> values;
  for (const RecipeField& field : list_fields(recipe)) {
    if (field.taken()) std::visit([&](const auto* value) { values.emplace_back(*value); }, field.value);
  }
  return values;
}

inline Recipe with_router(Recipe recipe, const std::string& router) {
  recipe.moe.router = router;
  return recipe;
}

/// Moves each kind of value away from its default, inside of its legal range.
struct MakeUnusual {
  const RecipeField& field;

  void operator()(int64_t* value) const { *value += 1; }
  void operator()(double* value) const { *value = *value > 0 ? *value / 3 : 1.0 / 3; }
  void operator()(bool* value) const { *value = !*value; }
  void operator()(parallel::Span* value) const { *value = {value->count + 7'000'000'000, parallel::Unit::kTokens}; }
  void operator()(std::vector<int64_t>* value) const { value->push_back(3); }
  void operator()(parallel::Weight* value) const { *value = {value->value / 3 + 0.1, 5, 7'000'000'000}; }
  void operator()(parallel::EnumValue* value) const {
    value->set(value->names().back() == value->name() ? value->names().front() : value->names().back());
  }
  void operator()(std::string* value) const {
    const std::vector<std::string>& names = field.legal.names;
    if (names.empty()) {
      *value = "a \"b\" \\ c\t\n\r\b\f\x01\x7F # = [ä€]";
    } else {
      *value = names.back() == *value ? names.front() : names.back();
    }
  }
};

/// A recipe of legal values in which no field has its default.
inline Recipe unusual_recipe() {
  Recipe recipe;
  for (const RecipeField& field : list_fields(recipe)) std::visit(MakeUnusual{field}, field.value);
  recipe.model.rope_theta = 12345.678901234567;
  return recipe;
}

}  // namespace launch
