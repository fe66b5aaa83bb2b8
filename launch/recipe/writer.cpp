#include "launch/recipe/writer.h"

#include <algorithm>

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

/// A section for each of the recipe that it says something of.
std::string toml_of(const StageOverlay& stage) {
  if (stage.keys.empty()) return "\n[stage." + stage.name + "]\n";
  std::vector<std::pair<std::string, std::string>> sections;  // and their lines, in the order of their first keys
  for (const auto& [name, value] : stage.keys) {
    const size_t dot = name.rfind('.');
    const std::string section = name.substr(0, dot);
    auto found = std::ranges::find(sections, section, &std::pair<std::string, std::string>::first);
    if (found == sections.end()) found = sections.insert(found, {section, ""});
    found->second += name.substr(dot + 1) + " = " + value + "\n";
  }
  std::string text;
  for (const auto& [section, lines] : sections) text += "\n[stage." + stage.name + "." + section + "]\n" + lines;
  return text;
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
  std::string text = toml_document(taken_fields(copy));
  for (const StageOverlay& stage : recipe.stages) text += toml_of(stage);
  return text;
}

std::vector<std::pair<std::string, std::string>> written_keys(const Recipe& recipe) {
  Recipe copy = recipe;
  std::vector<std::pair<std::string, std::string>> keys;
  for (const RecipeField& field : taken_fields(copy)) keys.emplace_back(field.name(), toml_text(field.value));
  for (const StageOverlay& stage : recipe.stages) {
    for (const auto& [name, value] : stage.keys) keys.emplace_back("stage." + stage.name + "." + name, value);
  }
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
