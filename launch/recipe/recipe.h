// One recipe is one whole run: a member per owner's config, what its stages say otherwise, and what its names mean.
// defines: StageOverlay, Recipe, visit
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/batching/task_config.h"
#include "data/datasets/data_config.h"
#include "launch/recipe/overlap_config.h"
#include "launch/recipe/registry.h"
#include "launch/recipe/run_config.h"
#include "launch/recipe/train_config.h"
#include "moetrain/config/lora_config.h"
#include "moetrain/config/moe_config.h"
#include "moetrain/models/model_config.h"
#include "moetrain/objectives/objective_config.h"
#include "optim/updates/optimizer_config.h"
#include "parallel/mesh/mesh_config.h"

namespace launch {

/// [stage.NAME]: keys of the recipe by their names there ("train.length"), and those of its surgery
/// ("surgery.operation"), in the recipe's order, with values as TOML writes them.
struct StageOverlay {
  std::string name;
  std::vector<std::pair<std::string, std::string>> keys;
};

struct Recipe {
  RunConfig run;
  parallel::MeshConfig mesh;
  OverlapConfig overlap;
  data::DataConfig data;
  data::TaskConfig tasks;
  moetrain::ModelConfig model;
  moetrain::MoeConfig moe;
  moetrain::LoraConfig lora;
  moetrain::ObjectiveConfig objective;
  TrainConfig train;
  optim::OptimizerConfig optimizer;
  optim::ScheduleConfig schedule;
  CheckpointConfig checkpoint;
  EvaluateConfig evaluate;
  std::vector<StageOverlay> stages;  // in the order of the file; train.stages says when each has its turn

  std::shared_ptr<const Registry> registry = builtin_registry();  // never null
  const moetrain::ModelPreset& model_preset() const { return registry->models.at(model.kind); }
  moetrain::DocumentShape documents() const { return model_preset().documents(model); }
  const optim::ScheduleRule& schedule_rule() const { return registry->schedules.at(schedule.kind); }
  const optim::UpdateRule& update_rule() const { return registry->updates.at(optimizer.kind); }
  const moetrain::ObjectivePreset& objective_preset() const { return registry->objectives.at(objective.kind); }
};

/// Calls section(name, config) for every section, in the order in which they are written.
template <class Visitor>
void visit(Recipe& recipe, Visitor& section) {
  section("run", recipe.run);
  section("mesh", recipe.mesh);
  section("overlap", recipe.overlap);
  section("data", recipe.data);
  section("tasks", recipe.tasks);
  section("model", recipe.model);
  section("attention", recipe.model.attending);
  section("moe", recipe.moe);
  section("lora", recipe.lora);
  section("objective", recipe.objective);
  section("train", recipe.train);
  section("optimizer", recipe.optimizer);
  section("schedule", recipe.schedule);
  section("checkpoint", recipe.checkpoint);
  section("evaluate", recipe.evaluate);
}

}  // namespace launch
