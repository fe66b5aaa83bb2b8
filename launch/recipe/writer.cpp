#include "launch/recipe/writer.h"

#include "launch/recipe/fields.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/random.h"

namespace launch {

namespace {

std::vector<RecipeField> taken_fields(Recipe& recipe) {
  std::vector<RecipeField> fields = list_fields(recipe);
  std::erase_if(fields, [](const RecipeField& field) { return !field.taken(); });
  return fields;
}

}  // namespace

std::string toml_document(const std::vector<RecipeField>& fields) {
  std::string text, section;
  for (const RecipeField& field : fields) {
    if (field.section != section) {
      text += (text.empty() ? "[" : "\n[") + field.section + "]\n";
      section = field.section;
    }
    text += field.key + " = " + toml_text(field.value) + "\n";
  }
  return text;
}

std::string write_recipe(const Recipe& recipe) {
  Recipe copy = recipe;  // visit() hands out mutable references
  return toml_document(taken_fields(copy));
}

std::vector<std::pair<std::string, std::string>> written_keys(const Recipe& recipe) {
  Recipe copy = recipe;
  std::vector<std::pair<std::string, std::string>> keys;
  for (const RecipeField& field : taken_fields(copy)) keys.emplace_back(field.name(), toml_text(field.value));
  return keys;
}

uint64_t recipe_hash(const Recipe& recipe) {
  Recipe copy = recipe;
  copy.run.folder.clear();
  return parallel::hash_name(write_recipe(copy));
}

std::string hash_text(uint64_t hash) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = kDigits[(hash >> (60 - 4 * i)) & 15];
  return text;
}

}  // namespace launch
