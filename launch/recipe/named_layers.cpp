#include "launch/recipe/named_layers.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "parallel/base/fault.h"

namespace launch {
namespace {

constexpr std::string_view kLayers = "layer";

/// "wide" of "layer.wide" and "layer.wide.losses"; empty of any other section.
std::string layer_of_section(std::string_view section) {
  if (!section.starts_with(kLayers) || section.size() <= kLayers.size() || section[kLayers.size()] != '.') return "";
  section.remove_prefix(kLayers.size() + 1);
  return std::string(section.substr(0, section.find('.')));
}

/// "moe.losses" of "layer.wide.losses".
std::string inherited_section(const std::string& section, const std::string& layer) {
  return "moe" + section.substr(kLayers.size() + 1 + layer.size());
}

class LayerNames {
 public:
  void add(const std::string& section, const std::string& place) {
    const std::string name = layer_of_section(section);
    if (name.empty() || std::ranges::count(names_, name) > 0) return;
    const bool plain = std::ranges::all_of(name, [](char c) {
      return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || c == '_' || c == '-';
    });
    if (!plain) {
      parallel::user_error(place, ": [layer.NAME] with the NAME '", shortened(name),
                           "'; legal: letters, digits, _ and -, for moe.placement names it");
    }
    names_.push_back(name);
  }
  std::vector<std::string> all() && { return std::move(names_); }

 private:
  std::vector<std::string> names_;
};

}  // namespace

std::vector<std::string> take_layer_names(std::vector<DocumentEntry>& entries,
                                          const std::vector<std::string>& overrides) {
  LayerNames names;
  for (const DocumentEntry& entry : entries) {
    if (entry.section == kLayers && entry.kind == EntryKind::kKey) {
      parallel::user_error(entry.place, ": layer.", entry.key, " is ", entry.value.describe(),
                           "; wanted a section [layer.", entry.key, "] with keys such as those of [moe]");
    }
    names.add(entry.section, entry.place);
  }
  std::erase_if(entries, [](const DocumentEntry& entry) { return entry.section == kLayers; });
  for (const std::string& text : overrides) {
    std::string_view name = std::string_view(text).substr(0, text.find('='));
    name.remove_prefix(std::min(name.find_first_not_of(" \t"), name.size()));
    const size_t dot = name.rfind('.');
    if (dot != name.npos) names.add(std::string(name.substr(0, dot)), "--set " + shortened(text));
  }
  return std::move(names).all();
}

void name_layers(Recipe& recipe, const std::vector<std::string>& names) {
  parallel::check_internal(recipe.moe.named.empty(), "name_layers: the recipe has layers");
  for (const std::string& name : names) recipe.moe.named.emplace_back().name = name;
}

void copy_value(const RecipeField& from, const RecipeField& to) {
  std::visit(
      [](auto* here, auto* there) {
        if constexpr (std::is_same_v<decltype(here), decltype(there)>) *here = *there;
      },
      to.value, from.value);
}

void inherit_layers(const std::vector<RecipeField>& fields, const std::function<bool(const RecipeField&)>& said) {
  std::unordered_map<std::string, const RecipeField*> by_name;
  for (const RecipeField& field : fields) by_name[field.name()] = &field;
  for (const RecipeField& field : fields) {
    const std::string layer = layer_of_section(field.section);
    if (layer.empty() || said(field)) continue;
    copy_value(*by_name.at(inherited_section(field.section, layer) + "." + field.key), field);
  }
}

}  // namespace launch
