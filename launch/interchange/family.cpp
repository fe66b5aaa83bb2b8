#include "launch/interchange/family.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "launch/interchange/families/families.h"
#include "launch/recipe/fields.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch::interchange {
namespace {

/// Says nothing of what a model computes, in any family.
const std::vector<std::string> kInert = {"architectures",
                                         "model_type",
                                         "initializer_range",
                                         "initializer_factor",
                                         "use_cache",
                                         "attention_dropout",
                                         "dropout_rate",
                                         "pretraining_tp",
                                         "output_router_logits",
                                         "output_hidden_states",
                                         "output_attentions",
                                         "return_dict",
                                         "router_aux_loss_coef",
                                         "router_z_loss_coef",
                                         "router_jitter_noise",
                                         "transformers_version",
                                         "dtype",
                                         "torch_dtype",
                                         "id2label",
                                         "label2id",
                                         "problem_type",
                                         "auto_map",
                                         "attn_implementation",
                                         "is_llama_config",
                                         "quantization_config",
                                         "transformers.js_config",
                                         "chunk_size_feed_forward",
                                         "is_encoder_decoder"};

struct Difference {
  std::string key, here, there;
};

ModelShape held(const Family& family, const ModelShape& shape) {
  return family.held_as != nullptr ? family.held_as(shape) : shape;
}

/// What the family would have otherwise of the model; nullopt where its config.json cannot even say it.
std::optional<std::vector<Difference>> differences(const Family& family, const ModelShape& shape) {
  const ModelShape wanted = canonical(held(family, shape));
  ModelShape there;
  try {
    there = canonical(shape_from(family, config_of(family, wanted), "config.json"));
  } catch (const parallel::UserError&) {
    return std::nullopt;
  }
  const auto said = said_of(wanted), read = said_of(there);
  std::vector<Difference> all;
  for (const auto& [key, value] : said) {
    const auto found = std::ranges::find(read, key, [](const auto& each) { return each.first; });
    if (found == read.end()) {
      all.push_back({key, value, "nothing of the kind"});
    } else if (found->second != value) {
      all.push_back({key, value, found->second});
    }
  }
  return all;
}

/// The bounds that a recipe's reader goes by, of all fields of the model that are in use.
void check_legal(const ConfigKeys& keys, ModelShape& shape) {
  Recipe recipe;
  recipe.model = shape.model;
  recipe.moe = shape.moe;
  // Two lists of the same fields: the values of one, what keys were read into of the other.
  std::vector<RecipeField> read = fields_of_section("model", shape.model);
  for (RecipeField& field : fields_of_section("attention", shape.model.attending)) read.push_back(std::move(field));
  for (RecipeField& field : fields_of_section("moe", shape.moe)) read.push_back(std::move(field));
  for (const RecipeField& field : list_fields(recipe)) {
    std::optional<double> value;
    if (auto* const* integer = std::get_if<int64_t*>(&field.value)) value = static_cast<double>(**integer);
    if (auto* const* number = std::get_if<double*>(&field.value)) value = **number;
    if (!value || !field.taken() || field.legal.contains(*value)) continue;
    const auto found = std::ranges::find(read, field.name(), &RecipeField::name);
    const std::string key =
        found == read.end() ? "" : std::visit([&](auto* bound) { return keys.key_of(bound); }, found->value);
    const std::string why = parallel::concat("makes ", field.name(), " = ", *value, "; legal: ", legal_text(field));
    keys.refuse(key.empty() ? field.key : key, why);
  }
  if (shape.moe.layers != "none" && shape.moe.top_k > shape.moe.experts) {
    keys.refuse(keys.key_of(&shape.moe.top_k), parallel::concat("is more than the experts, ", shape.moe.experts));
  }
}

/// A folder may hold another model on the same trunk.
void check_architecture(const Family& family, ConfigKeys& keys) {
  const Json* listed = keys.given("architectures");
  if (listed == nullptr) return;
  const std::string base = family.architecture.substr(0, family.architecture.rfind("For")) + "Model";
  const bool fits = listed->is_array() && std::ranges::all_of(*listed, [&](const Json& name) {
                      return name == family.architecture || name == base;
                    });
  if (!fits)
    keys.refuse("architectures", "is another model on the same trunk; legal: " + family.architecture + ", " + base);
}

}  // namespace

const std::vector<Family>& known_families() {
  static const std::vector<Family> kAll = {llama(),   mistral(),     qwen2(),       qwen3(),
                                           mixtral(), olmoe(),       qwen3_moe(),   qwen2_moe(),
                                           gpt_oss(), deepseek_v2(), deepseek_v3(), switch_transformers()};
  return kAll;
}

const Family& family_named(const Json& config, const std::string& place) {
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()) parallel::user_error(place, ": says no model_type");
  std::vector<std::string> known;
  for (const Family& family : known_families()) {
    if (*type == family.model_type) return family;
    known.push_back(family.model_type);
  }
  parallel::user_error(place, ": model_type ", type->dump(), " is unknown; known: ", parallel::list_names(known));
}

bool holds(const Family& family, const ModelShape& shape) {
  const std::optional<std::vector<Difference>> here = differences(family, shape);
  return here && here->empty();
}

const Family& family_for(const ModelShape& shape) {
  const moetrain::MoeConfig& moe = canonical(shape).moe;
  if (has_modules(shape)) {
    parallel::user_error("moe.placement = \"", shape.moe.placement,
                         "\" cannot be exported: experts stand in the place of attentions, which no architecture of ",
                         "transformers that is known here has");
  }
  if (!moe.placement.empty()) {
    parallel::user_error("moe.placement = \"", moe.placement,
                         "\" cannot be exported: it is layers of experts of several ",
                         "kinds, and every architecture of transformers that is known here has one kind");
  }
  if (!moe.expert_weights.empty()) {
    parallel::user_error("moe.expert_weights cannot be exported: no architecture of transformers that is known here ",
                         "has experts that share weights; `transform --operation separate` gives each its own");
  }
  if (moe.task_bias || moe.router == "task_table") {
    parallel::user_error(
        moe.task_bias ? "moe.task_bias = true" : "moe.router = \"task_table\"",
        " cannot be exported: it goes by the task of a text, which no architecture of transformers is ",
        "told; what can be done: `generate --task` and `evaluate` of the run as it is");
  }
  if (moe.router == "pre_gated") {
    parallel::user_error(
        "moe.router = \"pre_gated\" cannot be exported: no architecture of transformers that is known ",
        "here has one router for all layers; legal: layers that route by themselves, such as ",
        "router = \"top_k\", and `generate` and `evaluate` of the run as it is");
  }
  const Family* nearest = nullptr;
  std::vector<Difference> least;
  for (const Family& family : known_families()) {
    const std::optional<std::vector<Difference>> here = differences(family, shape);
    if (!here) continue;
    if (here->empty()) return family;
    if (nearest == nullptr || here->size() < least.size()) std::tie(nearest, least) = std::tuple(&family, *here);
  }
  if (nearest == nullptr) {  // what any of them says
    shape_from(known_families().front(), config_of(known_families().front(), shape), "the config.json of an export");
    parallel::user_error("no architecture of transformers that is known here has this model");
  }
  const auto& [key, value, there] = least.front();
  parallel::user_error(key, " = ", value,
                       " cannot be exported: no architecture of transformers that is known here has ",
                       "this model; the nearest, ", nearest->architecture, ", has ", there);
}

Json config_of(const Family& family, const ModelShape& shape) {
  ConfigKeys keys = ConfigKeys::writing();
  keys.write("architectures", {family.architecture});
  keys.write("model_type", family.model_type);
  ModelShape written = held(family, shape);  // keys bind both directions alike
  family.config(keys, written);
  return keys.written();
}

ModelShape shape_from(const Family& family, const Json& config, const std::string& place,
                      const std::vector<std::string>& ignored) {
  ConfigKeys keys = ConfigKeys::reading(config, place);
  keys.inert(kInert);
  keys.inert(ignored);
  ModelShape shape;
  shape.moe.layers = "none";
  family.config(keys, shape);
  keys.check_all_known();
  check_architecture(family, keys);
  check_legal(keys, shape);
  shape.sequence_length = shape.model.max_positions;
  return shape;
}

}  // namespace launch::interchange
