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

/// A weight for each loss that there is, and the tables of those that have keys of their own.
void append_losses(std::vector<RecipeField>& all, const parallel::NameTable<moetrain::RouterLoss>& losses,
                   moetrain::MoeConfig& moe) {
  const std::string section = "moe.losses";
  for (const std::string& name : losses.names()) {
    const moetrain::RouterLoss& loss = losses.at(name);
    parallel::Weight& weight = moe.losses.try_emplace(name, loss.weight).first->second;
    all.push_back({{name, &weight, parallel::at_least(0), loss.sentence}, section});
  }
  for (const std::string& name : losses.names()) {
    if (losses.at(name).keys == nullptr) continue;
    parallel::Weight& weight = moe.losses.at(name);
    append_own_table(
        all, "moe." + name, losses.at(name).keys(moe.own_keys),
        {.condition = section + "." + name + " > 0", .chosen = &weight, .taken = [&weight] { return weight.is_on(); }});
  }
}

/// What all rules that bound an expert are told, and what one alone is.
void append_capacities(std::vector<RecipeField>& all, const parallel::NameTable<moetrain::CapacityRule>& capacities,
                       moetrain::MoeConfig& moe) {
  std::string bounding;
  for (const std::string& name : capacities.names()) {
    if (capacities.at(name).bounds()) bounding += (bounding.empty() ? "" : " or ") + quoted_text(name);
  }
  append_own_table(all, "moe.bound", parallel::own_keys_of<moetrain::BoundConfig>(moe.own_keys),
                   {.condition = "moe.capacity = " + bounding, .chosen = &moe.capacity, .taken = [&moe, &capacities] {
                      return capacities.at(moe.capacity).bounds();
                    }});
  let_choose(all, "moe", "capacity", capacities, moe.capacity, moe.own_keys);
}

/// What a section's config chooses from a table of the registry, and the tables of their own that choices have.
void append_choices(std::vector<RecipeField>& all, const Registry& registry, moetrain::MoeConfig& moe) {
  append_losses(all, registry.losses, moe);
  let_choose(all, "moe", "router", registry.routers, moe.router, moe.own_keys);
  append_capacities(all, registry.capacities, moe);
  field_named(all, "moe.expert").sentence += "; kinds: " + parallel::list_names(registry.experts.names());
  append_own_tables(all, "moe", "moe.expert", registry.experts, moe.expert, moe.own_keys, moetrain::names_kind);
  append_own_table(all, "moe.sequences", parallel::own_keys_of<moetrain::SequenceRoutingConfig>(moe.own_keys),
                   {.condition = "moe.rows = \"sequences\"", .chosen = &moe.rows, .taken = [&moe] {
                      return moe.rows == moetrain::Rows::kSequences;
                    }});
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

}  // namespace launch
