#include "launch/planning/layout_plan.h"

#include <algorithm>
#include <cmath>

#include "launch/recipe/rules.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"
#include "parallel/mesh/axes.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

/// The exact program for gradients takes layers^3 quanta^2; this much is a second.
parallel::PlanOptions affordable(int64_t layers) {
  constexpr double kSteps = 3e8;
  parallel::PlanOptions options;
  const double cube = std::pow(static_cast<double>(std::max<int64_t>(1, layers)), 3);
  options.quanta = std::clamp<int64_t>(static_cast<int64_t>(std::sqrt(kSteps / cube)), 1, options.quanta);
  return options;
}

Wall wall_of(const LayoutPlan& plan) {
  if (!plan.fits) return Wall::kMemory;
  const PlannedStep& step = plan.step;
  if (step.compute >= step.exposed_inside && step.compute >= step.exposed_between) return Wall::kCompute;
  return step.exposed_inside > step.exposed_between ? Wall::kLinkInside : Wall::kLinkBetween;
}

std::string gib(int64_t bytes) {
  std::string text(32, '\0');
  text.resize(
      static_cast<size_t>(std::snprintf(text.data(), text.size(), "%.2f GiB", static_cast<double>(bytes) / (1 << 30))));
  return text;
}

std::vector<int64_t> divisors(int64_t whole) {
  std::vector<int64_t> all;
  for (int64_t divisor = 1; divisor <= whole; ++divisor) {
    if (whole % divisor == 0) all.push_back(divisor);
  }
  return all;
}

/// A mesh for each combination of degrees that divide the ranks, of every axis that has one, and ZeRO's stages.
std::vector<parallel::MeshConfig> every_mesh(const parallel::MeshConfig& like, int64_t ranks) {
  std::vector<parallel::MeshConfig> meshes{like};
  const auto vary = [&](int64_t parallel::MeshConfig::*key, const std::vector<int64_t>& values) {
    std::vector<parallel::MeshConfig> varied;
    for (const parallel::MeshConfig& mesh : meshes) {
      for (const int64_t value : values) varied.emplace_back(mesh).*key = value;
    }
    meshes = std::move(varied);
  };
  for (const parallel::AxisRow& axis : parallel::axis_rows()) {
    if (axis.degree != nullptr) vary(axis.degree, divisors(ranks));
  }
  vary(&parallel::MeshConfig::zero, ranks > 1 ? std::vector<int64_t>{0, 1, 2} : std::vector<int64_t>{0});
  for (parallel::MeshConfig& mesh : meshes) {
    if (mesh.expert != like.expert) mesh.experts_by_rank.clear();  // it is a map of that many ranks
  }
  return meshes;
}

/// One candidate; nothing where the recipe's shape does not allow it.
struct Candidate {
  RankedLayout layout;
  std::optional<StepCosts> costs;
};
std::optional<Candidate> candidate(Recipe recipe, const parallel::MeshConfig& mesh, int64_t vocabulary,
                                   const Machine& machine, const Cluster& cluster, double imbalance) {
  Candidate found{.layout = {.mesh = mesh}};
  recipe.mesh = mesh;
  Workload work;
  ParameterTable parameters;
  try {
    check_rules(recipe);
    work = workload_of(recipe, vocabulary, cluster.ranks());
    parameters = largest_parameters(recipe, vocabulary, work.mesh);
  } catch (const parallel::UserError&) {
    return std::nullopt;
  }
  found.layout.memory = memory_use(recipe, parameters, work, {.imbalance = imbalance}).total();
  if (static_cast<double>(found.layout.memory) > machine.memory_bytes()) {
    found.layout.refused = "needs " + gib(found.layout.memory) + " of " + gib(std::llround(machine.memory_bytes()));
    return found;
  }
  try {
    found.costs = step_costs(recipe, parameters, work, machine, cluster, imbalance);
    const parallel::ScheduleMaker sequential = parallel::builtin_schedules().at("sequential");
    const PlannedStep step = predict_step(*found.costs, sequential(found.costs->model, {}));
    found.layout.seconds = step.seconds;
    found.layout.schedule = step.plan.name;
  } catch (const parallel::UserError& error) {
    found.layout.refused = error.what();
  }
  return found;
}

}  // namespace

std::string to_string(Wall wall) {
  static const char* const names[] = {"compute", "link inside hosts", "link between hosts", "memory"};
  return names[static_cast<size_t>(wall)];
}

LayoutPlan plan_layout(const Recipe& recipe, int64_t vocabulary, const Machine& machine, const Cluster& cluster,
                       double imbalance) {
  LayoutPlan plan{.imbalance = imbalance};
  plan.work = workload_of(recipe, vocabulary, cluster.ranks());
  plan.parameters = largest_parameters(recipe, vocabulary, plan.work.mesh);
  plan.axes = host_axes(plan.work.mesh, cluster);
  plan.memory = memory_use(recipe, plan.parameters, plan.work, {.imbalance = imbalance});
  plan.bounded = memory_use(recipe, plan.parameters, plan.work, {.bounded = true});
  plan.traffic = traffic_of(recipe, plan.parameters, plan.work);
  const StepCosts costs = step_costs(recipe, plan.parameters, plan.work, machine, cluster, imbalance);
  plan.step = best_schedule(costs, affordable(plan.work.expert_calls()), &plan.schedules);
  plan.assumptions = costs.assumptions;
  plan.fits = static_cast<double>(plan.memory.total()) <= machine.memory_bytes();
  plan.wall = wall_of(plan);
  return plan;
}

LayoutSearch search_layouts(const Recipe& recipe, int64_t vocabulary, const Machine& machine, const Cluster& cluster,
                            double imbalance, int64_t planned) {
  LayoutSearch search;
  std::vector<Candidate> open;
  const bool any_experts = !moetrain::all_layer_configs(recipe.moe, moetrain::total_blocks(recipe.model)).empty();
  for (const parallel::MeshConfig& mesh : every_mesh(recipe.mesh, cluster.ranks())) {
    const int64_t folded = mesh.expert * mesh.expert_tensor;
    if (cluster.ranks() % folded != 0) continue;
    if (!any_experts && folded > 1) continue;  // they change nothing
    auto found = candidate(recipe, mesh, vocabulary, machine, cluster, imbalance);
    if (!found) {
      ++search.illegal;
    } else if (found->layout.refused.empty()) {
      open.push_back(std::move(*found));
    } else {
      search.refused.push_back(std::move(found->layout));
    }
  }
  const auto seconds = [](const Candidate& each) { return each.layout.seconds; };
  std::ranges::stable_sort(open, {}, seconds);
  for (size_t i = 0; i < open.size() && i < static_cast<size_t>(planned); ++i) {
    const StepCosts& costs = *open[i].costs;
    const auto layers = static_cast<int64_t>(costs.model.layers.size());
    const PlannedStep step = best_schedule(costs, affordable(5 * layers));
    open[i].layout.seconds = step.seconds;
    open[i].layout.schedule = step.plan.name;
    open[i].layout.planned = true;
  }
  std::ranges::stable_sort(open, {}, seconds);
  for (Candidate& each : open) search.ranked.push_back(std::move(each.layout));
  std::ranges::stable_sort(search.refused, {}, &RankedLayout::memory);
  return search;
}

}  // namespace launch
