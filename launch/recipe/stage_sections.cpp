#include "launch/recipe/stage_sections.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "launch/recipe/named_layers.h"
#include "launch/recipe/reader.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

using parallel::user_error;

constexpr std::string_view kStage = "stage";
constexpr std::string_view kSurgery = "surgery";
constexpr size_t kMostStages = 10000;

/// Whole sections, and keys. What is not here is the whole run's: where and on what it runs, what starts it, the rule
/// that moves weights (another would need another state), how many checkpoints stay, and when it gives up.
constexpr std::array kMayDiffer{
    "mesh",
    "data",
    "model.dropout",
    "moe",
    "layer",
    "objective",
    "train.length",
    "train.frozen",
    "train.global_batch",
    "train.batch_tokens",
    "train.micro_batches",
    "train.recompute",
    "train.log_every",
    "optimizer.learning_rate",
    "optimizer.learning_rate_factors",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.epsilon",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "optimizer.muon",
    "schedule",
    "checkpoint.every",
    "evaluate.every",
    "evaluate.batch",
};

bool is_word(char c) {
  return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || c == '_' || c == '-';
}

/// {"moe", "train"} of "stage.moe.train", {"moe", ""} of "stage.moe"; nothing of any other section.
std::optional<std::pair<std::string, std::string>> name_and_section(std::string_view section) {
  if (!section.starts_with(kStage) || section.size() <= kStage.size() || section[kStage.size()] != '.') return {};
  section.remove_prefix(kStage.size() + 1);
  const size_t dot = section.find('.');
  return std::pair(std::string(section.substr(0, dot)),
                   dot == section.npos ? std::string() : std::string(section.substr(dot + 1)));
}

StageSection& section_named(std::vector<StageSection>& all, const std::string& name, const std::string& place) {
  if (!std::ranges::all_of(name, is_word) || name.empty()) {
    user_error(place, ": [stage.NAME] with the NAME '", shortened(name),
               "'; legal: letters, digits, _ and -, for train.stages names it");
  }
  const auto found = std::ranges::find(all, name, &StageSection::name);
  return found != all.end() ? *found : all.emplace_back(StageSection{.name = name});
}

[[noreturn]] void refuse_bare_key(const DocumentEntry& entry, const std::string& above) {
  user_error(entry.place, ": ", above, ".", entry.key, " is ", entry.value.describe(), "; wanted ",
             above == kStage ? "sections [stage.NAME]" : "keys with the names of their sections",
             ", such as [stage.first] and in it train.length = \"200u\"");
}

/// Reads the text of train.stages from the left.
class OrderReader {
 public:
  explicit OrderReader(const std::string& text) : text_(text), rest_(text) {}

  std::vector<std::string> all() {
    std::vector<std::string> names = list();
    if (!peek().empty()) refuse(parallel::concat("'", peek(), "' where a comma or the end belongs"));
    return names;
  }

 private:
  std::string_view peek() {
    const size_t begin = std::min(rest_.find_first_not_of(" \t"), rest_.size());
    rest_.remove_prefix(begin);
    size_t end = 0;
    while (end < rest_.size() && is_word(rest_[end])) ++end;
    return rest_.substr(0, std::max<size_t>(end, rest_.empty() ? 0 : 1));
  }
  std::string take() {
    const std::string_view word = peek();
    rest_.remove_prefix(word.size());
    return std::string(word);
  }

  std::vector<std::string> list() {
    std::vector<std::string> names = item();
    while (peek() == ",") {
      take();
      const std::vector<std::string> more = item();
      names.insert(names.end(), more.begin(), more.end());
      if (names.size() > kMostStages) refuse(parallel::concat("more than ", kMostStages, " stages"));
    }
    return names;
  }

  std::vector<std::string> item() {
    std::string word = take();
    if (word == "(") return bracketed();
    if (word.empty() || !is_word(word.front()))
      refuse(word.empty() ? "it breaks off" : "'" + word + "' where a name belongs");
    const std::string_view next = peek();
    if (next == "(" && word.size() > 1 && word.back() == 'x') return repeated(word.substr(0, word.size() - 1));
    if (next != "x") return {word};
    take();
    return repeated(word);
  }

  std::vector<std::string> bracketed() {
    if (++depth_ > 8) refuse("brackets in brackets too deep");
    std::vector<std::string> names = list();
    if (take() != ")") refuse("a bracket that is not closed");
    --depth_;
    return names;
  }

  std::vector<std::string> repeated(const std::string& number) {
    const bool is_number = number.size() < 6 && number.find_first_not_of("0123456789") == number.npos;
    const size_t times = is_number ? std::stoul(number) : 0;
    if (times == 0) refuse("'" + number + " x' is no number of times");
    const std::vector<std::string> once = item();
    if (times * once.size() > kMostStages) refuse(parallel::concat("more than ", kMostStages, " stages"));
    std::vector<std::string> names;
    for (size_t i = 0; i < times; ++i) names.insert(names.end(), once.begin(), once.end());
    return names;
  }

  [[noreturn]] void refuse(const std::string& why) const {
    user_error("train.stages = \"", shortened(text_), "\": ", why,
               "; legal: names of sections [stage.NAME] with commas between, some repeated: \"dense, 3 x (router, "
               "backbone)\"");
  }

  const std::string& text_;
  std::string_view rest_;
  int depth_ = 0;
};

}  // namespace

std::vector<RecipeField> surgery_fields(SurgeryConfig& config, const Registry& registry) {
  const std::string section(kSurgery);
  std::vector<RecipeField> all = fields_of_section(section, config);
  all.front().legal.names = registry.operations.names();
  all.front().legal.names.insert(all.front().legal.names.begin(), SurgeryConfig::kNone);
  for (const std::string& name : registry.operations.names()) {
    const parallel::OwnKeyList keys = registry.operations.at(name).keys;
    if (keys == nullptr) continue;
    const Choice choice{.condition = section + ".operation = " + quoted_text(name),
                        .chosen = &config.operation,
                        .taken = [&config, name] { return config.operation == name; }};
    for (parallel::Field& field : keys(config.own_keys))
      all.push_back({std::move(field), section + "." + name, choice});
  }
  return all;
}

bool may_differ(const std::string& key) {
  return std::ranges::any_of(kMayDiffer, [&](std::string_view may) {
    return key.starts_with(may) && (key.size() == may.size() || key[may.size()] == '.');
  });
}

std::string list_differing() {
  return parallel::list_names(std::vector<std::string>(kMayDiffer.begin(), kMayDiffer.end()));
}

std::vector<StageSection> take_stage_sections(std::vector<DocumentEntry>& entries,
                                              std::vector<std::string>& overrides) {
  std::vector<StageSection> all;
  std::erase_if(entries, [&](DocumentEntry& entry) {
    if (entry.section == kStage && entry.kind == EntryKind::kKey) refuse_bare_key(entry, entry.section);
    if (entry.section == kStage) return true;
    const auto of_stage = name_and_section(entry.section);
    if (!of_stage) return false;
    StageSection& stage = section_named(all, of_stage->first, entry.place);
    if (of_stage->second.empty() && entry.kind == EntryKind::kKey) refuse_bare_key(entry, entry.section);
    if (of_stage->second.empty()) return true;
    stage.entries.push_back(entry);
    stage.entries.back().section = of_stage->second;
    return true;
  });
  std::erase_if(overrides, [&](const std::string& text) {
    const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    const auto of_stage = name_and_section(std::string_view(text).substr(begin, text.find('=') - begin));
    if (!of_stage) return false;
    const std::string place = "--set " + shortened(text);
    if (of_stage->second.find('.') == std::string::npos) {
      user_error(place, ": wanted --set stage.NAME.section.key=value, such as --set stage.first.train.length=200u");
    }
    const size_t rest = begin + kStage.size() + 1 + of_stage->first.size() + 1;
    section_named(all, of_stage->first, place).overrides.emplace_back(text.substr(rest), place);
    return true;
  });
  return all;
}

std::vector<std::string> stage_order(const std::string& text) {
  if (text.find_first_not_of(" \t") == text.npos) return {""};
  return OrderReader(text).all();
}

const StageOverlay& stage_named(const Recipe& run, const std::string& name) {
  const auto found = std::ranges::find(run.stages, name, &StageOverlay::name);
  if (found != run.stages.end()) return *found;
  std::vector<std::string> known;
  for (const StageOverlay& stage : run.stages) known.push_back(stage.name);
  user_error("train.stages names '", name, "', and there is no section [stage.", name,
             "]; known: ", known.empty() ? "none" : parallel::list_names(known));
}

Recipe overlaid(const Recipe& run, const StageOverlay& stage) {
  Recipe recipe = run;
  recipe.stages.clear();
  recipe.train.stages.clear();
  const std::vector<RecipeField> fields = list_fields(recipe);
  std::map<std::string, const RecipeField*> by_name;
  std::map<std::string, std::string> before;
  for (const RecipeField& field : fields) {
    by_name[field.name()] = &field;
    before[field.name()] = toml_text(field.value);
  }
  std::vector<const RecipeField*> said;
  const std::string place = "[stage." + stage.name + "]";
  for (const auto& [name, value] : stage.keys) {
    if (name.starts_with(kSurgery)) continue;
    const auto found = by_name.find(name);
    if (found == by_name.end()) user_error(place, ": ", name, ", which the model of that stage has not");
    set_field(*said.emplace_back(found->second), value, place);
    if (!name.starts_with("moe.")) continue;
    for (const moetrain::MoeConfig& layer : recipe.moe.named) {
      const std::string there = section_of(layer) + name.substr(3);
      const bool follows = before.contains(there) && before[there] == before[name] &&
                           std::ranges::count(stage.keys, there, &std::pair<std::string, std::string>::first) == 0;
      if (follows) copy_value(*found->second, *by_name[there]);
    }
  }
  for (const RecipeField* field : said) {
    if (field->taken()) continue;
    user_error(place, ": ", field->name(), " is a key of ", field->of->condition, ", and at that stage it is ",
               toml_text(field->of->chosen), "; legal: without this key, or ", field->of->condition);
  }
  return recipe;
}

SurgeryConfig surgery_of(const StageOverlay& stage, const Registry& registry) {
  SurgeryConfig surgery;
  const std::vector<RecipeField> fields = surgery_fields(surgery, registry);
  for (const auto& [name, value] : stage.keys) {
    const auto found = std::ranges::find(fields, name, &RecipeField::name);
    if (found != fields.end()) set_field(*found, value, "[stage." + stage.name + "]");
  }
  return surgery;
}

}  // namespace launch
