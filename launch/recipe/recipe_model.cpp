#include "launch/recipe/recipe_model.h"

#include <algorithm>
#include <utility>

#include "launch/recipe/precision.h"
#include "moetrain/models/models.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"
#include "parallel/base/name_patterns.h"

namespace launch {
namespace {

std::vector<parallel::NamePattern> frozen_patterns(const Recipe& recipe) {
  return parallel::name_patterns("train.frozen", recipe.train.frozen, parallel::PatternValues::kNone);
}

std::vector<parallel::NamePattern> factor_patterns(const Recipe& recipe) {
  return parallel::name_patterns("optimizer.learning_rate_factors", recipe.optimizer.learning_rate_factors,
                                 parallel::PatternValues::kNumbers);
}

/// With adapters these alone are trained.
void freeze(const Recipe& recipe, const moetrain::Model& model) {
  const std::vector<parallel::NamePattern> frozen = frozen_patterns(recipe);
  std::vector<std::string> names;
  bool trained = false;
  for (const auto& parameter : model.named_parameters()) {
    const std::string& name = names.emplace_back(parameter.key());
    const bool base = recipe.lora.on() && !model.adapters().has_parameter(name);
    const bool off = base || parallel::first_fit(frozen, name) != nullptr;
    if (off) parameter.value().requires_grad_(false);
    trained = trained || !off;
  }
  parallel::check_each_fits("train.frozen", frozen, names, "parameters");
  parallel::check_each_fits("optimizer.learning_rate_factors", factor_patterns(recipe), names, "parameters");
  if (!trained) {
    parallel::user_error("train.frozen = \"", recipe.train.frozen, "\" leaves nothing to train of the model's ",
                         names.size(), " parameters; legal: patterns that do not fit all of them");
  }
}

}  // namespace

std::shared_ptr<moetrain::Model> build_model(const Recipe& recipe, int64_t vocabulary, at::Device device,
                                             std::shared_ptr<const parallel::Mesh> mesh) {
  const auto options = at::TensorOptions(dtype_of(recipe.run.precision)).device(device);
  const moetrain::ParameterSource source(static_cast<uint64_t>(recipe.run.seed), options, std::move(mesh), recipe.lora);
  moetrain::MoeTables tables = *recipe.registry;
  tables.tasks = data::task_names(recipe.tasks);
  auto model = recipe.model_preset().make({recipe.model, recipe.moe, vocabulary, source, tables});
  source.adapters()->check_all_found();
  freeze(recipe, *model);
  return model;
}

std::vector<double> learning_rate_factors(const Recipe& recipe, const std::vector<std::string>& names) {
  const std::vector<parallel::NamePattern> patterns = factor_patterns(recipe);
  std::vector<double> factors;
  for (const std::string& name : names) {
    const parallel::NamePattern* found = parallel::first_fit(patterns, name);
    factors.push_back(found != nullptr ? found->value : 1.0);
  }
  return factors;
}

bool goes_by_tasks(const Recipe& recipe) {
  return std::ranges::any_of(moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model)),
                             [&](const moetrain::MoeConfig& layer) {
                               return moetrain::reads_tasks(layer, recipe.registry->routers.at(layer.router).demands);
                             });
}

}  // namespace launch
