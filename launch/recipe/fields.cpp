#include "launch/recipe/fields.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

std::string bound_text(double bound) {
  constexpr double kExactInteger = 9e15;
  const bool whole = std::abs(bound) <= kExactInteger && bound == std::floor(bound);
  return whole ? std::to_string(static_cast<int64_t>(bound)) : shortest_text(bound);
}

std::string range_text(const parallel::Legal& legal, const std::string& unbounded) {
  const std::string low = std::isfinite(legal.low) ? bound_text(legal.low) : "";
  const std::string high = std::isfinite(legal.high) ? bound_text(legal.high) : "";
  if (low.empty() && high.empty()) return unbounded;
  if (high.empty()) return (legal.low_is_legal ? "at least " : "above ") + low;
  if (low.empty()) return (legal.high_is_legal ? "at most " : "below ") + high;
  return (legal.low_is_legal ? "" : "above ") + low + (legal.high_is_legal ? " to " : " to below ") + high;
}

}  // namespace

namespace {

RecipeField& field_named(std::vector<RecipeField>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &RecipeField::name);
  parallel::check_internal(found != all.end(), "there is no key ", name);
  return *found;
}

/// The table [section] of keys that one choice alone knows. UserError where a piece from outside has the name of
/// something that is there.
void append_own_table(std::vector<RecipeField>& all, const std::string& section, std::vector<parallel::Field> keys,
                      const Choice& choice) {
  for (const RecipeField& field : all) {
    if (field.section != section && field.name() != section) continue;
    parallel::user_error("the keys of ", choice.condition, " would be the table [", section, "], which is taken by ",
                         field.of ? field.of->condition : field.name(), "; rename what was added");
  }
  for (parallel::Field& field : keys) all.push_back({std::move(field), section, choice});
}

/// The tables [section.NAME] of those rows that have keys of their own, legal where `names(chosen, NAME)`, chosen being
/// the value of `chooser`.
template <class Row, class Names>
void append_own_tables(std::vector<RecipeField>& all, const std::string& section, const std::string& chooser,
                       const parallel::NameTable<Row>& table, std::string& chosen, parallel::OwnKeys& own_keys,
                       const Names& names) {
  for (const std::string& name : table.names()) {
    const parallel::OwnKeyList keys = table.at(name).keys;
    if (keys == nullptr) continue;
    append_own_table(all, section + "." + name, keys(own_keys),
                     {.condition = chooser + " = " + quoted_text(name),
                      .chosen = &chosen,
                      .taken = [&chosen, name, names] { return names(chosen, name); }});
  }
}

/// `section.key`, whose value is `chosen`, names a row of `table`: its legal names, and the tables of its rows.
template <class Row>
void let_choose(std::vector<RecipeField>& all, const std::string& section, const std::string& key,
                const parallel::NameTable<Row>& table, std::string& chosen, parallel::OwnKeys& own_keys) {
  const std::string chooser = section + "." + key;
  field_named(all, chooser).legal.names = table.names();
  append_own_tables(all, section, chooser, table, chosen, own_keys, std::equal_to<std::string>());
}

// `moe` is [moe] or [layer.NAME]; its section, which those of its choices begin with, is section_of(moe).

/// A weight for each loss that there is, and the tables of those that have keys of their own.
void append_losses(std::vector<RecipeField>& all, const parallel::NameTable<moetrain::RouterLoss>& losses,
                   moetrain::MoeConfig& moe) {
  const std::string above = section_of(moe), section = above + ".losses";
  for (const std::string& name : losses.names()) {
    const moetrain::RouterLoss& loss = losses.at(name);
    parallel::Weight& weight = moe.losses.try_emplace(name, loss.weight).first->second;
    all.push_back({{name, &weight, parallel::at_least(0), loss.sentence}, section});
  }
  for (const std::string& name : losses.names()) {
    if (losses.at(name).keys == nullptr) continue;
    parallel::Weight& weight = moe.losses.at(name);
    append_own_table(
        all, above + "." + name, losses.at(name).keys(moe.own_keys),
        {.condition = section + "." + name + " > 0", .chosen = &weight, .taken = [&weight] { return weight.is_on(); }});
  }
}

/// What all rules that bound an expert are told, and what one alone is.
void append_capacities(std::vector<RecipeField>& all, const parallel::NameTable<moetrain::CapacityRule>& capacities,
                       moetrain::MoeConfig& moe) {
  const std::string section = section_of(moe);
  std::string bounding;
  for (const std::string& name : capacities.names()) {
    if (capacities.at(name).bounds()) bounding += (bounding.empty() ? "" : " or ") + quoted_text(name);
  }
  append_own_table(all, section + ".bound", parallel::own_keys_of<moetrain::BoundConfig>(moe.own_keys),
                   {.condition = section + ".capacity = " + bounding,
                    .chosen = &moe.capacity,
                    .taken = [&moe, &capacities] { return capacities.at(moe.capacity).bounds(); }});
  let_choose(all, section, "capacity", capacities, moe.capacity, moe.own_keys);
}

void append_layer_choices(std::vector<RecipeField>& all, const Registry& registry, moetrain::MoeConfig& moe) {
  const std::string section = section_of(moe);
  append_losses(all, registry.losses, moe);
  let_choose(all, section, "router", registry.routers, moe.router, moe.own_keys);
  append_capacities(all, registry.capacities, moe);
  field_named(all, section + ".expert").sentence += "; kinds: " + parallel::list_names(registry.experts.names());
  append_own_tables(all, section, section + ".expert", registry.experts, moe.expert, moe.own_keys,
                    moetrain::names_kind);
  append_own_table(all, section + ".sequences", parallel::own_keys_of<moetrain::SequenceRoutingConfig>(moe.own_keys),
                   {.condition = section + ".rows = \"sequences\"", .chosen = &moe.rows, .taken = [&moe] {
                      return moe.rows == moetrain::Rows::kSequences;
                    }});
}

/// What a section's config chooses from a table of the registry, and the tables of their own that choices have; of
/// [moe] also the sections of the layers that have names.
void append_choices(std::vector<RecipeField>& all, const Registry& registry, moetrain::MoeConfig& moe) {
  append_layer_choices(all, registry, moe);
  for (moetrain::MoeConfig& layer : moe.named) {
    moetrain::LayerKeys keys{layer};
    for (RecipeField& field : fields_of_section(section_of(layer), keys)) all.push_back(std::move(field));
    append_layer_choices(all, registry, layer);
  }
}

void append_choices(std::vector<RecipeField>& all, const Registry& registry, optim::OptimizerConfig& optimizer) {
  let_choose(all, "optimizer", "kind", registry.updates, optimizer.kind, optimizer.own_keys);
}

void append_choices(std::vector<RecipeField>& all, const Registry& registry, optim::ScheduleConfig& schedule) {
  let_choose(all, "schedule", "kind", registry.schedules, schedule.kind, schedule.own_keys);
}

void append_choices(std::vector<RecipeField>& all, const Registry& registry, moetrain::ModelConfig& model) {
  let_choose(all, "model", "kind", registry.models, model.kind, model.own_keys);
}

/// The tables of a kind of attention, and of those that stretch rotary frequencies.
void append_choices(std::vector<RecipeField>& all, const Registry&, moetrain::AttentionConfig& attention) {
  const auto append = [&](moetrain::RopeKind kind, std::vector<parallel::Field> keys) {
    const std::string name = parallel::Enum(kind).name();
    append_own_table(all, "attention." + name, std::move(keys),
                     {.condition = "attention.rope = " + quoted_text(name),
                      .chosen = &attention.rope,
                      .taken = [&attention, kind] { return attention.rope == kind; }});
  };
  using moetrain::RopeKind, parallel::own_keys_of;
  append_own_table(all, "attention.latent", own_keys_of<moetrain::LatentConfig>(attention.own_keys),
                   {.condition = "attention.kind = \"latent\"", .chosen = &attention.kind, .taken = [&attention] {
                      return attention.kind == moetrain::AttentionKind::kLatent;
                    }});
  append_own_table(all, "attention.relative", own_keys_of<moetrain::RelativeConfig>(attention.own_keys),
                   {.condition = "attention.positions = \"relative\"",
                    .chosen = &attention.positions,
                    .taken = [&attention] { return attention.positions == moetrain::Positions::kRelative; }});
  append(RopeKind::kLinear, own_keys_of<moetrain::LinearRopeConfig>(attention.own_keys));
  append(RopeKind::kLlama3, own_keys_of<moetrain::Llama3RopeConfig>(attention.own_keys));
  append(RopeKind::kYarn, own_keys_of<moetrain::YarnConfig>(attention.own_keys));
}

void append_choices(std::vector<RecipeField>& all, const Registry& registry, moetrain::ObjectiveConfig& objective) {
  let_choose(all, "objective", "kind", registry.objectives, objective.kind, objective.own_keys);
}

template <class Config>
void append_choices(std::vector<RecipeField>&, const Registry&, Config&) {}

}  // namespace

std::vector<RecipeField> list_fields(Recipe& recipe) {
  std::vector<RecipeField> all;
  auto append_section = [&](const char* name, auto& config) {
    for (RecipeField& field : fields_of_section(name, config)) all.push_back(std::move(field));
    append_choices(all, *recipe.registry, config);
  };
  visit(recipe, append_section);
  return all;
}

std::vector<std::string> section_names(const std::vector<RecipeField>& fields) {
  std::vector<std::string> names;
  for (const RecipeField& field : fields) {
    if (names.empty() || names.back() != field.section) names.push_back(field.section);
  }
  return names;
}

bool holds_text(const RecipeField& field) {
  return std::holds_alternative<std::string*>(field.value) || std::holds_alternative<parallel::EnumValue*>(field.value);
}

std::string type_name(const RecipeField& field) {
  // In the order of FieldPointer's alternatives.
  constexpr std::array<const char*, std::variant_size_v<parallel::FieldPointer>> kNames = {
      "integer", "number", "boolean", "text", "span", "integers", "weight", "text"};
  return kNames[field.value.index()];
}

std::string legal_text(const RecipeField& field) {
  if (std::holds_alternative<bool*>(field.value)) return "true, false";
  if (holds_text(field)) {
    return field.legal.names.empty() ? "any text" : parallel::list_names(field.legal.names);
  }
  if (std::holds_alternative<parallel::Span*>(field.value)) return range_text(field.legal, "at least 0");
  if (std::holds_alternative<double*>(field.value) || std::holds_alternative<parallel::Weight*>(field.value)) {
    return range_text(field.legal, "any number");
  }
  return range_text(field.legal, "any integer");
}

namespace {

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
      parallel::user_error(place_, ": ", field_.name(), " = ", shortened(quoted_text(*text)),
                           " is unknown; legal: ", parallel::list_names(names));
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
    parallel::user_error(place_, ": ", field_.name(), " is ", value_.describe(), "; wanted ", wanted);
  }

  void require_legal(double candidate) const {
    if (field_.legal.contains(candidate)) return;
    parallel::user_error(place_, ": ", field_.name(), " = ", value_.text,
                         " is out of range; legal: ", legal_text(field_));
  }

  const RecipeField& field_;
  const DocumentValue& value_;
  const std::string& place_;
};

}  // namespace

void store_value(const RecipeField& field, const DocumentValue& value, const std::string& place) {
  std::visit(FieldSetter(field, value, place), field.value);
}

}  // namespace launch
