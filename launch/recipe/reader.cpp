#include "launch/recipe/reader.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string_view>
#include <tuple>
#include <utility>

#include "launch/recipe/moved_keys.h"
#include "launch/toml/document.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

using parallel::list_names;
using parallel::nearest_name;
using parallel::user_error;

constexpr size_t kLargestRecipe = 1 << 20;  // [bytes]

}  // namespace

std::string read_text(const std::filesystem::path& file) {
  std::error_code ignored;  // what cannot be looked at cannot be opened either
  if (std::filesystem::is_directory(file, ignored)) user_error(file.string(), ": is a folder; wanted a TOML file");
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) user_error(file.string(), ": cannot be opened: ", std::strerror(errno));
  std::string text(kLargestRecipe + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) user_error(file.string(), ": cannot be read: ", std::strerror(errno));
  text.resize(static_cast<size_t>(stream.gcount()));
  return text;
}

namespace {

/// "; did you mean 'top_k'?" or, where no known name is near, all of them.
std::string offer(const std::string& word, const std::vector<std::string>& known, const std::string& what) {
  const std::string nearest = nearest_name(word, known);
  return nearest.empty() ? "; known " + what + ": " + list_names(known) : "; did you mean '" + nearest + "'?";
}

/// Sections of `fields` that have the key: "moe" or "model, moe".
std::string owners_of(const std::vector<RecipeField>& fields, const std::string& key) {
  std::vector<std::string> owners;
  for (const RecipeField& field : fields) {
    if (field.key == key) owners.push_back(field.section);
  }
  return list_names(owners);
}

void require_section(const std::vector<RecipeField>& fields, const std::string& section, const std::string& place) {
  std::vector<std::string> sections = section_names(fields);
  if (std::ranges::count(sections, section) > 0) return;
  const bool inner = section.find('.') != std::string::npos;
  std::erase_if(sections, [&](const std::string& each) { return (each.find('.') != std::string::npos) != inner; });
  user_error(place, ": unknown section '", section, "'", offer(section, sections, "sections"));
}

const RecipeField& find_field(const std::vector<RecipeField>& fields, const DocumentEntry& entry) {
  std::vector<std::string> known;
  for (const RecipeField& field : fields) {
    if (field.section != entry.section) continue;
    if (field.key == entry.key) return field;
    known.push_back(field.key);
  }
  if (const MovedKey* moved = moved_key(entry.section + "." + entry.key)) {
    const auto there = std::ranges::find(fields, moved->is, &RecipeField::name);
    const bool chosen = there == fields.end() || !there->of;
    user_error(entry.place, ": ", moved->was, " is now ", moved->is,
               chosen ? "" : ", legal where " + there->of->condition);
  }
  const std::string owners = owners_of(fields, entry.key);
  user_error(entry.place, ": unknown key '", entry.section, ".", entry.key, "'",
             owners.empty() ? offer(entry.key, known, "keys of [" + entry.section + "]")
                            : "; '" + entry.key + "' is a key of: " + owners);
}

[[noreturn]] void refuse_stray(const std::vector<RecipeField>& fields, const DocumentEntry& entry) {
  const std::vector<std::string> sections = section_names(fields);
  if (std::ranges::count(sections, entry.key) > 0) {
    user_error(entry.place, ": '", entry.key, "' is a section; wanted [", entry.key, "] and its keys below, found ",
               entry.value.describe());
  }
  const std::string owners = owners_of(fields, entry.key);
  user_error(entry.place, ": key '", entry.key, "' stands outside of any section; ",
             owners.empty() ? "known sections: " + list_names(sections) : "it is a key of: " + owners);
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Of a name such as "moe.top_k"; a section may have dots itself. @pre there is a dot
std::pair<std::string, std::string> section_and_key(const std::string& name) {
  const size_t dot = name.rfind('.');
  return {name.substr(0, dot), name.substr(dot + 1)};
}

/// The entry with the place that its key has today.
DocumentEntry in_present_spelling(DocumentEntry entry) {
  if (const MovedKey* moved = moved_key(entry.section + "." + entry.key)) {
    std::tie(entry.section, entry.key) = section_and_key(moved->is);
  }
  return entry;
}

/// That the recipe has made the choice whose key it gives at `place`.
void require_taken(const RecipeField& field, const std::string& place) {
  if (field.taken()) return;
  user_error(place, ": ", field.name(), " is a key of ", field.of->condition, ", and the recipe's is ",
             toml_text(field.of->chosen), "; legal: without this key, or ", field.of->condition);
}

struct Given {
  const RecipeField* field;
  std::string place;
};

Given apply_override(const std::vector<RecipeField>& fields, const std::string& text) {
  const std::string place = "--set " + shortened(text);
  const size_t equals = text.find('=');
  const std::string name = trimmed(text.substr(0, equals));
  if (equals == std::string::npos || name.find('.') == std::string::npos) {
    user_error(place, ": wanted section.key=value, such as --set moe.top_k=2");
  }
  const auto [section, key] = section_and_key(name);
  const DocumentEntry entry{EntryKind::kKey, place, section, key, {}};
  require_section(fields, entry.section, place);
  const RecipeField& field = find_field(fields, entry);
  set_field(field, text.substr(equals + 1), place);
  return {&field, place};
}

/// Turns one document value into the field's type and stores it if it is legal.
class FieldSetter {
 public:
  FieldSetter(const RecipeField& field, const DocumentValue& value, const std::string& place)
      : field_(field), value_(value), place_(place) {}

  void operator()(int64_t* target) const {
    const auto* integer = std::get_if<int64_t>(&value_.content);
    const auto* number = std::get_if<double>(&value_.content);
    constexpr double kExact = 9e15;  // whole numbers are exact in a double up to here
    if (number && std::abs(*number) <= kExact && *number == std::floor(*number)) {
      refuse_type("an integer: write " + std::to_string(static_cast<int64_t>(*number)) +
                  " without a point or exponent");
    }
    if (!integer) refuse_type("an integer such as " + example("1"));
    require_legal(static_cast<double>(*integer));
    *target = *integer;
  }

  void operator()(double* target) const {
    const auto* integer = std::get_if<int64_t>(&value_.content);
    const auto* number = std::get_if<double>(&value_.content);
    if (!integer && !number) refuse_type("a number such as " + example("0.1"));
    const double candidate = number ? *number : static_cast<double>(*integer);
    if (!std::isfinite(candidate)) refuse_type("a finite number such as " + example("0.1"));
    require_legal(candidate);
    *target = candidate;
  }

  void operator()(bool* target) const {
    const auto* flag = std::get_if<bool>(&value_.content);
    if (!flag) refuse_type("true or false");
    *target = *flag;
  }

  void operator()(std::string* target) const { *target = legal_name(); }
  void operator()(parallel::EnumValue* target) const { target->set(legal_name()); }

  void operator()(parallel::Span* target) const {
    const auto* text = std::get_if<std::string>(&value_.content);
    if (!text) refuse_type(kWantedSpan);
    parallel::Span span;
    try {
      span = parallel::parse_span(*text);
    } catch (const parallel::UserError&) {
      refuse_type(kWantedSpan);
    }
    require_legal(static_cast<double>(span.count));
    *target = span;
  }

  void operator()(std::vector<int64_t>* target) const {
    const auto* integers = std::get_if<std::vector<int64_t>>(&value_.content);
    if (!integers) refuse_type("a list of integers such as " + example("[1, 2]"));
    for (const int64_t element : *integers) require_legal(static_cast<double>(element));
    *target = *integers;
  }

  void operator()(parallel::Weight* target) const {
    if (const auto* integer = std::get_if<int64_t>(&value_.content))
      return set_weight(static_cast<double>(*integer), target);
    if (const auto* number = std::get_if<double>(&value_.content)) return set_weight(*number, target);
    const auto* text = std::get_if<std::string>(&value_.content);
    if (!text) refuse_type(kWantedWeight);
    parallel::Weight weight;
    try {
      weight = parallel::parse_weight(*text);
    } catch (const parallel::UserError&) {
      refuse_type(kWantedWeight);
    }
    set_weight(weight, target);
  }

 private:
  const std::string& legal_name() const {
    const auto* text = std::get_if<std::string>(&value_.content);
    if (!text) refuse_type("text in quotes such as " + example("\"...\""));
    const std::vector<std::string>& names = field_.legal.names;
    if (!names.empty() && std::ranges::count(names, *text) == 0) {
      user_error(place_, ": ", field_.name(), " = ", shortened(quoted_text(*text)),
                 " is unknown; legal: ", list_names(names));
    }
    return *text;
  }

  static constexpr const char* kWantedSpan =
      "a count with a unit: \"2000u\" (updates), \"5e6t\" (tokens) or \"3e\" (epochs)";
  static constexpr const char* kWantedWeight =
      "a number such as 0.01, or with a window of updates \"0.01 from 100u until 2000u\"";

  void set_weight(const parallel::Weight& weight, parallel::Weight* target) const {
    if (!std::isfinite(weight.value)) refuse_type(kWantedWeight);
    require_legal(weight.value);
    *target = weight;
  }

  /// The field's present value, which is legal, or `otherwise` where that is empty.
  std::string example(const std::string& otherwise) const {
    const std::string text = toml_text(field_.value);
    return text == "\"\"" || text == "[]" ? otherwise : text;
  }

  [[noreturn]] void refuse_type(const std::string& wanted) const {
    user_error(place_, ": ", field_.name(), " is ", value_.describe(), "; wanted ", wanted);
  }

  void require_legal(double candidate) const {
    if (field_.legal.contains(candidate)) return;
    user_error(place_, ": ", field_.name(), " = ", value_.text, " is out of range; legal: ", legal_text(field_));
  }

  const RecipeField& field_;
  const DocumentValue& value_;
  const std::string& place_;
};

/// What the document says of `fields`, set.
std::vector<Given> read_document(const std::vector<RecipeField>& fields, const std::string& text,
                                 const std::string& name, bool any_version) {
  std::vector<Given> given;
  for (DocumentEntry& entry : parse_document(text, name)) {
    if (any_version && entry.kind == EntryKind::kKey) entry = in_present_spelling(std::move(entry));
    if (entry.kind == EntryKind::kStray) refuse_stray(fields, entry);
    const auto as_key = std::ranges::find(fields, entry.section, &RecipeField::name);
    if (as_key != fields.end()) {  // a table where a value belongs
      const DocumentValue table{.content = {}, .kind = "table", .text = {}};
      std::visit(FieldSetter(*as_key, table, entry.place), as_key->value);
    }
    require_section(fields, entry.section, entry.place);
    if (entry.kind == EntryKind::kSection) continue;
    const RecipeField& field = find_field(fields, entry);
    std::visit(FieldSetter(field, entry.value, entry.place), field.value);
    given.push_back({&field, entry.place});
  }
  return given;
}

/// What a start decides.
bool is_of_model(const RecipeField& field) {
  const std::string section = field.section.substr(0, field.section.find('.'));
  return section == "model" || section == "attention" || section == "moe" || section == "lora";
}

/// The values of the start's recipe in all fields of the model that are not given. The lists are alike: of one
/// registry.
void inherit(const std::vector<RecipeField>& fields, const std::vector<Given>& given, Recipe start) {
  const std::vector<RecipeField> there = list_fields(start);
  for (size_t i = 0; i < fields.size(); ++i) {
    const bool said = std::ranges::count(given, &fields[i], &Given::field) > 0;
    if (said || !is_of_model(fields[i])) continue;
    std::visit(
        [](auto* here, auto* from) {
          if constexpr (std::is_same_v<decltype(here), decltype(from)>) *here = *from;
        },
        fields[i].value, there[i].value);
  }
}

}  // namespace

Recipe read_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                   const RecipeReading& reading) {
  return parse_recipe(read_text(file), file.string(), overrides, reading);
}

Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                    const RecipeReading& reading) {
  if (text.size() > kLargestRecipe) user_error(name, ": is larger than ", kLargestRecipe, " bytes; is it a recipe?");
  Recipe recipe;
  recipe.registry = reading.registry;
  const std::vector<RecipeField> fields = list_fields(recipe);
  std::vector<Given> given = read_document(fields, text, name, reading.any_version);
  if (reading.any_version) given.clear();  // versions before gave the keys of every choice
  for (const std::string& text_of_override : overrides) given.push_back(apply_override(fields, text_of_override));
  if (reading.start && !recipe.train.start.empty()) inherit(fields, given, reading.start(recipe));
  for (const Given& one : given) require_taken(*one.field, one.place);
  return recipe;
}

std::vector<std::string> read_fields(const std::vector<RecipeField>& fields, const std::string& text,
                                     const std::string& name) {
  std::vector<std::string> names;
  for (const Given& one : read_document(fields, text, name, /*any_version=*/false)) names.push_back(one.field->name());
  return names;
}

void set_field(const RecipeField& field, const std::string& value, const std::string& place) {
  const DocumentValue parsed = parse_value(value, holds_text(field) ? Reading::kText : Reading::kTyped, place);
  std::visit(FieldSetter(field, parsed, place), field.value);
}

}  // namespace launch
