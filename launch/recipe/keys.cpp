#include "launch/recipe/keys.h"

#include <algorithm>
#include <sstream>
#include <vector>

#include "launch/recipe/stage_sections.h"
#include "launch/toml/toml_text.h"

namespace launch {
namespace {

constexpr size_t kColumns = 100;
constexpr size_t kIndent = 2, kGap = 2;

struct KeyRow {
  std::string section, key, type, value, legal, sentence, where;
};

KeyRow row_of(const RecipeField& field) {
  return {field.section,
          field.key,
          type_name(field),
          toml_text(field.value),
          legal_text(field),
          field.sentence,
          field.of ? field.of->condition : ""};
}

std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    lines.back() += (lines.back().empty() ? "" : " ") + word;
  }
  return lines;
}

std::string padded(const std::string& text, size_t width) {
  return text + std::string(width > text.size() ? width - text.size() : 0, ' ');
}

struct ColumnWidths {
  size_t key = 0, type = 0, value = 0;

  explicit ColumnWidths(const std::vector<KeyRow>& rows) {
    for (const KeyRow& row : rows) {
      key = std::max(key, row.key.size() + kGap);
      type = std::max(type, row.type.size() + kGap);
      value = std::max(value, row.value.size() + kGap);
    }
  }
  size_t before_legal() const { return kIndent + key + type + value; }
};

std::string line_of(const KeyRow& row, const ColumnWidths& widths) {
  const size_t legal_at = widths.before_legal(), sentence_at = kIndent + widths.key;
  std::string text = std::string(kIndent, ' ') + padded(row.key, widths.key) + padded(row.type, widths.type) +
                     padded(row.value, widths.value);
  std::string margin;  // of all lines but the first
  for (const std::string& line : wrapped(row.legal, kColumns - legal_at)) {
    text += margin + line + "\n";
    margin = std::string(legal_at, ' ');
  }
  for (const std::string& line : wrapped(row.sentence, kColumns - sentence_at)) {
    text += std::string(sentence_at, ' ') + line + "\n";
  }
  return text;
}

}  // namespace

std::string describe_keys(std::shared_ptr<const Registry> registry) {
  Recipe recipe;
  recipe.registry = std::move(registry);
  std::vector<KeyRow> rows = {{.section = "", .key = "key", .type = "type", .value = "default", .legal = "legal"}};
  for (const RecipeField& field : list_fields(recipe)) rows.push_back(row_of(field));
  SurgeryConfig surgery;
  for (RecipeField& field : surgery_fields(surgery, *recipe.registry)) {
    if (field.of) field.of->condition = "stage.NAME." + field.of->condition;
    field.section = "stage.NAME." + field.section;
    rows.push_back(row_of(field));
  }
  const ColumnWidths widths(rows);

  std::string text =
      "Every key of a recipe. A span is a count with its unit: \"2000u\" updates, \"5e6t\" tokens, \"3e\" epochs.\n"
      "On the command line: --set section.key=value, for example --set moe.top_k=4\n"
      "[layer.NAME], one for each name in moe.placement, has the keys of [moe] but layers and placement;\n"
      "[layer.NAME.losses], [layer.NAME.thor] and so on likewise. What it does not say is as [moe] says.\n"
      "[stage.NAME], one for each name in train.stages, says by whole names what that stage of the run has\n"
      "otherwise, such as train.length = \"200u\"; what it does not say is as the run says. Schedules and\n"
      "windows of weights count from its beginning. What it may say:\n";
  for (const std::string& line : wrapped(list_differing(), kColumns - kIndent)) text += "  " + line + "\n";
  text += "\n";
  rows.front().sentence = "what it means";
  std::string section;
  for (const KeyRow& row : rows) {
    if (row.section != section)
      text += "\n[" + row.section + "]\n" + (row.where.empty() ? "" : "  where " + row.where + "\n");
    section = row.section;
    text += line_of(row, widths);
  }
  return text;
}

}  // namespace launch
