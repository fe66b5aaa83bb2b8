#include "launch/recipe/reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "launch/recipe/moved_keys.h"
#include "launch/recipe/named_layers.h"
#include "launch/recipe/stage_sections.h"
#include "launch/toml/document.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"

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

/// text: "section.key=value".
Given apply_override(const std::vector<RecipeField>& fields, const std::string& text, const std::string& place) {
  const size_t equals = text.find('=');
  const std::string name(parallel::trimmed(std::string_view(text).substr(0, equals)));
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

/// A table where a value belongs.
void refuse_table(const std::vector<RecipeField>& fields, const DocumentEntry& entry) {
  const auto as_key = std::ranges::find(fields, entry.section, &RecipeField::name);
  if (as_key == fields.end()) return;
  const DocumentValue table{.content = {}, .kind = "table", .text = {}};
  store_value(*as_key, table, entry.place);
}

/// What a document says of `fields`, set.
std::vector<Given> read_entries(const std::vector<RecipeField>& fields, std::vector<DocumentEntry> entries,
                                bool any_version) {
  std::vector<Given> given;
  for (DocumentEntry& entry : entries) {
    if (any_version && entry.kind == EntryKind::kKey) entry = in_present_spelling(std::move(entry));
    if (entry.kind == EntryKind::kStray) refuse_stray(fields, entry);
    if (entry.kind == EntryKind::kSection) refuse_table(fields, entry);
    require_section(fields, entry.section, entry.place);
    if (entry.kind == EntryKind::kSection) continue;
    const RecipeField& field = find_field(fields, entry);
    store_value(field, entry.value, entry.place);
    given.push_back({&field, entry.place});
  }
  return given;
}

/// What a start decides.
bool is_of_model(const RecipeField& field) {
  const std::string section = field.section.substr(0, field.section.find('.'));
  return section == "model" || section == "attention" || section == "moe" || section == "layer" || section == "lora";
}

/// A recipe as entries and overrides give it, before what they leave out is settled.
class RecipeText {
 public:
  /// `layers`: the names of its layers, among them those that the text has.
  RecipeText(const std::vector<DocumentEntry>& entries, const std::vector<std::string>& overrides,
             const RecipeReading& reading, const std::vector<std::string>& layers) {
    recipe_.registry = reading.registry;
    name_layers(recipe_, layers);
    fields_ = list_fields(recipe_);
    given_ = read_entries(fields_, entries, reading.any_version);
    if (reading.any_version) unchecked_ = given_.size();  // versions before gave the keys of every choice
    for (const std::string& text : overrides)
      given_.push_back(apply_override(fields_, text, "--set " + shortened(text)));
    for (const Given& one : given_) said_.insert(one.field);
  }
  RecipeText(const RecipeText&) = delete;  // fields point into the recipe
  RecipeText& operator=(const RecipeText&) = delete;

  const Recipe& recipe() const { return recipe_; }
  bool says(const std::string& name) const {
    return std::ranges::any_of(given_, [&](const Given& one) { return one.field->name() == name; });
  }

  /// The values of the start's recipe in all fields of the model that are not given and that it has too.
  void start_from(Recipe start) {
    std::unordered_map<std::string, RecipeField> there;
    for (RecipeField& field : list_fields(start)) there.emplace(field.name(), std::move(field));
    for (const RecipeField& field : fields_) {
      const auto found = there.find(field.name());
      if (found == there.end() || said_.contains(&field) || !is_of_model(field)) continue;
      copy_value(found->second, field);
      said_.insert(&field);
    }
  }

  /// To be called last.
  Recipe settled() {
    if (!recipe_.moe.named.empty()) {
      inherit_layers(fields_, [&](const RecipeField& field) { return said_.contains(&field); });
    }
    for (size_t i = unchecked_; i < given_.size(); ++i) require_taken(*given_[i].field, given_[i].place);
    return std::move(recipe_);
  }

 private:
  Recipe recipe_;
  std::vector<RecipeField> fields_;
  std::vector<Given> given_;
  std::unordered_set<const RecipeField*> said_;  // here or by the start
  size_t unchecked_ = 0;                         // of given_, the first ones
};

}  // namespace

Recipe read_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                   const RecipeReading& reading) {
  return parse_recipe(read_text(file), file.string(), overrides, reading);
}

namespace {

/// The recipe without what is of its stages.
Recipe read_run(std::vector<DocumentEntry>& entries, const std::vector<std::string>& overrides,
                const RecipeReading& reading) {
  std::vector<std::string> layers = take_layer_names(entries, overrides);
  RecipeText alone(entries, overrides, reading, layers);
  if (!reading.start || alone.recipe().train.start.empty()) return alone.settled();
  Recipe start = reading.start(alone.recipe());
  for (const moetrain::MoeConfig& layer : start.moe.named) {
    const bool placed = !alone.says("moe.placement") && std::ranges::count(layers, layer.name) == 0;
    if (placed) layers.push_back(layer.name);
  }
  RecipeText started(entries, overrides, reading, layers);
  started.start_from(std::move(start));
  return started.settled();
}

void require_may_differ(const std::string& stage, const std::string& key, const std::string& place) {
  if (may_differ(key) || key.starts_with("surgery.")) return;
  user_error(place, ": [stage.", stage, "] may not say ", key, ", which is the whole run's; legal: ", list_differing(),
             ", surgery");
}

/// What the section says, and of choices that it makes anew their whole tables.
StageOverlay read_stage(const Recipe& run, const StageSection& section, bool any_version) {
  Recipe recipe = run, plain = run;
  SurgeryConfig surgery;
  std::vector<RecipeField> fields = list_fields(recipe);
  const std::vector<RecipeField> of_run = list_fields(plain);
  for (RecipeField& field : surgery_fields(surgery, *run.registry)) fields.push_back(std::move(field));
  std::vector<DocumentEntry> entries = section.entries;
  std::erase_if(entries, [](const auto& each) { return each.kind == EntryKind::kSection && each.section == "layer"; });
  std::vector<Given> given = read_entries(fields, std::move(entries), any_version);
  for (const auto& [text, place] : section.overrides) given.push_back(apply_override(fields, text, place));
  std::unordered_set<const RecipeField*> said;
  for (const Given& one : given) {
    require_may_differ(section.name, one.field->name(), one.place);
    require_taken(*one.field, one.place);
    said.insert(one.field);
  }
  StageOverlay stage{.name = section.name, .keys = {}};
  for (size_t i = 0; i < fields.size(); ++i) {
    const bool newly_taken =
        fields[i].taken() && (i >= of_run.size() ? surgery.any() && fields[i].of : !of_run[i].taken());
    if (said.contains(&fields[i]) || newly_taken) stage.keys.emplace_back(fields[i].name(), toml_text(fields[i].value));
  }
  return stage;
}

}  // namespace

Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                    const RecipeReading& reading) {
  if (text.size() > kLargestRecipe) user_error(name, ": is larger than ", kLargestRecipe, " bytes; is it a recipe?");
  std::vector<DocumentEntry> entries = parse_document(text, name);
  std::vector<std::string> of_run = overrides;
  const std::vector<StageSection> sections = take_stage_sections(entries, of_run);
  Recipe recipe = read_run(entries, of_run, reading);
  for (const StageSection& section : sections) {
    recipe.stages.push_back(read_stage(recipe, section, reading.any_version));
  }
  return recipe;
}

std::vector<std::string> read_fields(const std::vector<RecipeField>& fields, const std::string& text,
                                     const std::string& name) {
  std::vector<std::string> names;
  for (const Given& one : read_entries(fields, parse_document(text, name), /*any_version=*/false)) {
    names.push_back(one.field->name());
  }
  return names;
}

void set_field(const RecipeField& field, const std::string& value, const std::string& place) {
  const DocumentValue parsed = parse_value(value, holds_text(field) ? Reading::kText : Reading::kTyped, place);
  store_value(field, parsed, place);
}

}  // namespace launch
