#include "launch/recipe/rules.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "data/datasets/token_mixture.h"
#include "moetrain/models/check_attention.h"
#include "moetrain/moe/check_experts.h"
#include "moetrain/moe/expert_blocks.h"
#include "moetrain/routers/scores/pre_gate.h"
#include "optim/schedules/lengths.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

using parallel::concat;
using parallel::user_error;

void require_named(const std::string& value, const std::string& key, const std::string& meaning) {
  if (value.empty()) user_error(key, " is empty; wanted ", meaning);
}

/// What only some models' heads and decoders may be told.
void check_ends(const moetrain::ModelConfig& model, const moetrain::ModelPreset& preset) {
  using moetrain::Reads;
  if (model.scaled_head && preset.reads != Reads::kText && preset.reads != Reads::kPairs) {
    user_error("model.scaled_head = true, but model.kind = \"", model.kind,
               "\" predicts no tokens; legal: scaled_head = false");
  }
  if (model.start_token < 0 || preset.reads == Reads::kPairs) return;
  user_error("model.start_token = ", model.start_token, ", but model.kind = \"", model.kind,
             "\" has no encoder whose decoder would begin with it; legal: start_token = -1");
}

void check_model(const Recipe& recipe) {
  const moetrain::ModelConfig& model = recipe.model;
  const moetrain::ModelPreset& preset = recipe.model_preset();
  moetrain::check_attention(model, preset.stacks(model));
  if (preset.check != nullptr) preset.check(model);
  check_ends(model, preset);
  moetrain::attention_blocks(model);
  if (model.heads % model.kv_heads != 0) {
    user_error("model.kv_heads (", model.kv_heads, ") must divide model.heads (", model.heads,
               "); nearest legal kv_heads: ", parallel::nearest_divisors(model.kv_heads, model.heads));
  }
}

/// One layer of experts, of a block of this stack.
void check_layer(const Recipe& recipe, const moetrain::StackShape& stack, const moetrain::MoeConfig& layer) {
  const Registry& registry = *recipe.registry;
  const moetrain::RouterPreset& router = registry.routers.at(layer.router);
  const bool ids = recipe.model_preset().reads != moetrain::Reads::kImages;
  moetrain::check_router(layer, router, registry.capacities.at(layer.capacity),
                         {.causal = stack.causal,
                          .ids = ids,
                          .pre_gates = recipe.model_preset().pre_gates,
                          .tasks = data::task_names(recipe.tasks)});
  moetrain::check_losses(layer, router.demands, registry.losses);
  moetrain::check_experts(layer, recipe.model.width, registry);
}

/// Of each block of the model, where it has experts in that slot.
std::vector<std::optional<moetrain::MoeConfig>> layers_of(const Recipe& recipe, moetrain::Slot slot) {
  return moetrain::layer_configs(recipe.moe, moetrain::total_blocks(recipe.model), slot);
}

/// Of the whole model.
std::vector<moetrain::MoeConfig> all_layers_of(const Recipe& recipe) {
  return moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model));
}

/// Whether keys of [moe] mean this layer and no other.
bool is_all_of_moe(const Recipe& recipe, const moetrain::MoeConfig& layer) {
  return layer.name.empty() && recipe.moe.experts_by_layer.empty();
}

/// Calls check(layer); what it refuses of one that is not all of [moe] says of which.
template <class Check>
void check_as_layer(const Recipe& recipe, int64_t block, const moetrain::MoeConfig& layer, const Check& check) {
  try {
    check(layer);
  } catch (const parallel::UserError& error) {
    if (is_all_of_moe(recipe, layer)) throw;
    if (layer.name.empty()) {
      user_error("block ", block, ", whose moe.experts is ", layer.experts, " by moe.experts_by_layer: ", error.what());
    }
    user_error("[", section_of(layer), "], which block ", block, " holds: ", error.what());
  }
}

/// What `layer` wants of `before`, the layer of experts before it in its stack, which is of another kind.
void check_neighbours(const moetrain::MoeConfig& layer, const moetrain::MoeConfig& before, const Registry& registry) {
  if (!layer.gating_residual) return;
  const moetrain::RouterDemands& demands = registry.routers.at(before.router).demands;
  if (demands.learned && demands.causal_safe && layer.rows == before.rows) return;
  user_error("moe.gating_residual adds the logits of the layer of experts before, [", section_of(before),
             "], whose router = \"", before.router, "\" of ", before.rows,
             " has none of the kind; nearest legal: gating_residual = false");
}

void check_slot(const Recipe& recipe, moetrain::Slot slot) {
  const auto layers = layers_of(recipe, slot);
  for (const moetrain::StackShape& stack : recipe.model_preset().stacks(recipe.model)) {
    const moetrain::MoeConfig* before = nullptr;
    for (int64_t block = stack.first_layer; block < stack.first_layer + stack.blocks; ++block) {
      const std::optional<moetrain::MoeConfig>& own = layers[static_cast<size_t>(block)];
      if (!own) continue;  // where none has any, the rest of [moe] is not used
      check_as_layer(recipe, block, *own, [&](const moetrain::MoeConfig& layer) {
        check_layer(recipe, stack, layer);
        if (before != nullptr) check_neighbours(layer, *before, *recipe.registry);
      });
      if (slot == moetrain::Slot::kFeedForward) before = &*own;
    }
  }
}

void check_moe(const Recipe& recipe) {
  check_slot(recipe, moetrain::Slot::kFeedForward);
  check_slot(recipe, moetrain::Slot::kAttention);
  moetrain::pre_gated_layers(all_layers_of(recipe));
  moetrain::check_attention_modules(recipe.model, recipe.moe, recipe.mesh.tensor);
}

/// What the tensor group shares; the vocabulary is known only with the token file, and does not need to divide.
void check_tensor(int64_t tensor, const moetrain::ModelConfig& model, const moetrain::MoeConfig& moe) {
  const auto demand = [&](const char* key, int64_t value) {
    if (value % tensor == 0) return;
    user_error("mesh.tensor = ", tensor, " does not divide ", key, " = ", value,
               "; nearest legal: mesh.tensor = ", parallel::nearest_divisors(tensor, value), ", or ", key, " = ",
               parallel::nearest_multiples(value, tensor));
  };
  if (std::ranges::count(moetrain::attention_blocks(model), true) > 0) demand("model.heads", model.heads);
  const std::vector<bool> with_experts = moetrain::expert_blocks(moe, moetrain::total_blocks(model));
  if (std::ranges::count(with_experts, false) > 0) demand("model.ffn_hidden", model.ffn_hidden);
}

/// Whether two passes over one batch can differ.
bool draws_in_training(const Recipe& recipe) {
  if (recipe.model.dropout > 0 || (recipe.lora.on() && recipe.lora.dropout > 0)) return true;
  return std::ranges::any_of(all_layers_of(recipe), [&](const moetrain::MoeConfig& moe) {
    return recipe.registry->routers.at(moe.router).demands.draws || moe.jitter > 0 ||
           (recipe.registry->capacities.at(moe.capacity).bounds() &&
            moe.own<moetrain::BoundConfig>().drop == moetrain::Drop::kRandom);
  });
}

/// An adapter's dropout is drawn by a token's global index, which not every layer of every model knows.
void check_lora(const Recipe& recipe) {
  if (!recipe.lora.on() || recipe.lora.dropout == 0) return;
  const auto refuse = [&](const std::string& with) {
    user_error("lora.dropout = ", recipe.lora.dropout, " with ", with, "; legal: lora.dropout = 0");
  };
  for (const moetrain::StackShape& stack : recipe.model_preset().stacks(recipe.model)) {
    if (stack.cross || stack.modulated) refuse(concat("model.kind = \"", recipe.model.kind, "\""));
  }
  for (const moetrain::MoeConfig& moe : all_layers_of(recipe)) {
    if (moe.rows == moetrain::Rows::kSequences) refuse(concat(section_of(moe), ".rows = \"sequences\""));
    if (moe.latent > 0 && !recipe.registry->routers.at(moe.router).demands.causal_safe) {
      refuse(concat(section_of(moe), ".latent and ", section_of(moe), ".router = \"", moe.router, "\""));
    }
  }
}

/// "next_token, two_pass": of images, or of what is no image.
std::string list_objectives(const Registry& registry, bool of_images) {
  std::vector<std::string> names = registry.objectives.names();
  std::erase_if(names, [&](const auto& name) { return (registry.objectives.at(name).sample != nullptr) != of_images; });
  return parallel::list_names(names);
}

/// Of models that read images, or no images.
std::string list_models(const Registry& registry, bool of_images) {
  std::vector<std::string> names = registry.models.names();
  const auto reads_images = [&](const auto& name) {
    return registry.models.at(name).reads == moetrain::Reads::kImages;
  };
  std::erase_if(names, [&](const auto& name) { return reads_images(name) != of_images; });
  return parallel::list_names(names);
}

void check_objective(const Recipe& recipe) {
  const moetrain::ObjectivePreset& preset = recipe.objective_preset();
  if (preset.compares_draws && !draws_in_training(recipe)) {
    user_error("objective.kind = \"", recipe.objective.kind,
               "\", but nothing is drawn in training, so both passes would be equal; legal: ",
               "model.dropout > 0, moe.router = \"thor\" (or gshard, noisy_top_k), moe.jitter > 0, or a capacity with ",
               "moe.bound.drop = \"random\"");
  }
  const bool images = recipe.model_preset().reads == moetrain::Reads::kImages;
  if ((preset.sample != nullptr) != images) {
    user_error("objective.kind = \"", recipe.objective.kind, "\" with model.kind = \"", recipe.model.kind, "\", ",
               images ? "which says what noise an image has" : "which says nothing of noise",
               "; legal: objective.kind of ", list_objectives(*recipe.registry, images), ", or model.kind of ",
               list_models(*recipe.registry, !images));
  }
  const bool variances = recipe.documents().variances;
  if (images && preset.variances != variances) {
    user_error("model.", recipe.model.kind, ".learned_variance = ", variances ? "true" : "false",
               " with objective.kind = \"", recipe.objective.kind, "\", which ", preset.variances ? "learns" : "has no",
               " variances; legal: learned_variance = ", preset.variances ? "true" : "false");
  }
  if (preset.check != nullptr) preset.check(recipe.objective);
  if (preset.check_pupil != nullptr) preset.check_pupil(recipe.model, recipe.moe);
}

void check_train(const Recipe& recipe) {
  const TrainConfig& train = recipe.train;
  if (recipe.model_preset().reads == moetrain::Reads::kPairs)
    return;  // its updates are of batch_tokens, in parts as even as can be
  if (train.global_batch % train.micro_batches != 0) {
    user_error("train.global_batch (", train.global_batch, ") must be a multiple of train.micro_batches (",
               train.micro_batches, "); nearest legal: global_batch = ",
               parallel::nearest_multiples(train.global_batch, train.micro_batches),
               ", or micro_batches = ", parallel::nearest_divisors(train.micro_batches, train.global_batch));
  }
}

void check_offload(bool offload, parallel::Enum<Device> device) {
  if (!offload || device == Device::kCuda) return;
  user_error("optimizer.offload = true, but with run.device = \"", device,
             "\" all memory is the host's; legal: optimizer.offload = false, or run.device = \"cuda\"");
}

}  // namespace

void check_training(const Recipe& recipe) {
  require_named(recipe.run.folder, "run.folder", "a folder that the run makes, such as folder = \"runs/first\"");
  require_named(recipe.data.file, "data.file", "a token file written by `moetrain prepare`");
  data::parse_token_files(recipe.data.file);
  for (const moetrain::Slot slot : {moetrain::Slot::kFeedForward, moetrain::Slot::kAttention}) {
    const auto layers = layers_of(recipe, slot);
    for (size_t block = 0; block < layers.size(); ++block) {
      if (layers[block]) check_as_layer(recipe, static_cast<int64_t>(block), *layers[block], moetrain::check_learns);
    }
  }
}

void check_rules(const Recipe& recipe) {
  check_model(recipe);
  check_moe(recipe);
  check_tensor(recipe.mesh.tensor, recipe.model, recipe.moe);
  check_lora(recipe);
  check_objective(recipe);
  const bool running_text = recipe.model_preset().reads == moetrain::Reads::kText;
  data::check_packing(recipe.data, running_text, recipe.model.kind);
  const bool pairs = recipe.model_preset().reads == moetrain::Reads::kPairs;
  const data::TaskText of_tasks = running_text ? data::TaskText::kRunning
                                  : pairs      ? data::TaskText::kPairs
                                               : data::TaskText::kOther;
  data::check_tasks(recipe.tasks, recipe.data, of_tasks, recipe.model.kind);
  check_train(recipe);
  check_best(recipe.checkpoint, recipe.evaluate);
  const optim::ScheduleRule& schedule = recipe.schedule_rule();
  if (schedule.check != nullptr) schedule.check(recipe.schedule);
  optim::check_lengths(recipe.schedule, schedule, recipe.train.length);
  check_offload(recipe.optimizer.offload, recipe.run.device);
  const optim::UpdateRule& rule = recipe.update_rule();
  if (rule.check != nullptr) rule.check(recipe.optimizer);
}

void check_lengths(const Recipe& recipe, const parallel::SpanScale& scale) {
  optim::check_lengths(recipe.schedule, recipe.schedule_rule(), recipe.train.length, scale);
}

}  // namespace launch
