#include "launch/planning/layout_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launch/planning/plan_table.h"
#include "parallel/base/fault.h"
#include "tests/launch/planning/planning_support.h"

namespace {

using launch::Cluster;
using launch::LayoutPlan;
using launch::plan_layout;

launch::Recipe mixture(const parallel::MeshConfig& mesh) {
  launch::Recipe recipe = small_recipe();
  recipe.moe.layers = "odd";
  recipe.moe.experts = 8;
  recipe.mesh = mesh;
  return recipe;
}

LayoutPlan plan_of(const launch::Recipe& recipe, const Cluster& cluster) {
  return plan_layout(recipe, kOddVocabulary, small_machine(), cluster);
}

TEST(HostAxes, SayWhichGroupsCrossHosts) {
  // 8 ranks on 2 hosts: tensor pairs and expert_tensor pairs are neighbours; expert = 4 strides over both hosts.
  const auto axes = launch::host_axes(parallel::mesh_shape({.tensor = 2, .expert = 4, .expert_tensor = 2}, 8), {2, 4});
  EXPECT_FALSE(crosses_hosts(axes, parallel::Axis::kTensor));
  EXPECT_FALSE(crosses_hosts(axes, parallel::Axis::kExpertTensor));
  EXPECT_TRUE(crosses_hosts(axes, parallel::Axis::kExpert));
  EXPECT_TRUE(crosses_hosts(axes, parallel::Axis::kData, parallel::GroupUse::kGradients));
  EXPECT_TRUE(crosses_hosts(axes, parallel::Axis::kWorld));
  EXPECT_EQ(std::ranges::count(axes, "gradients.expert_data", &launch::HostAxis::name), 0) << "one rank only";
  const auto inside = launch::host_axes(parallel::mesh_shape({.expert = 2, .expert_tensor = 2}, 8), {2, 4});
  EXPECT_FALSE(crosses_hosts(inside, parallel::Axis::kExpert));
  EXPECT_TRUE(crosses_hosts(inside, parallel::Axis::kExpertData, parallel::GroupUse::kGradients));
  EXPECT_TRUE(launch::host_axes(parallel::mesh_shape({}, 1), {1, 1}).empty());
}

TEST(LayoutPlan, ThePartsOfTheStepAddUp) {
  for (const parallel::MeshConfig& mesh : {parallel::MeshConfig{},
                                           {.expert = 2},
                                           {.expert = 4, .expert_tensor = 2},
                                           {.tensor = 2, .expert = 2, .expert_tensor = 2}}) {
    for (const int64_t micro_batches : {1, 3}) {
      launch::Recipe recipe = mixture(mesh);
      recipe.train.micro_batches = micro_batches;
      const LayoutPlan plan = plan_of(recipe, {2, 4});
      const launch::PlannedStep& step = plan.step;
      EXPECT_GT(step.compute, 0);
      EXPECT_NEAR(step.compute + step.exposed_inside + step.exposed_between + step.idle, step.seconds,
                  1e-9 * step.seconds);
      EXPECT_LE(step.idle, 1e-6 * step.seconds) << "some resource always works";
      for (const auto& [name, seconds] : plan.schedules) EXPECT_GE(seconds, step.seconds * (1 - 1e-9)) << name;
    }
  }
}

TEST(LayoutPlan, OneRankComputesAndNothingElse) {
  const LayoutPlan plan = plan_of(mixture({}), {1, 1});
  EXPECT_TRUE(plan.traffic.empty());
  EXPECT_TRUE(plan.axes.empty());
  EXPECT_EQ(plan.wall, launch::Wall::kCompute);
  EXPECT_NEAR(plan.step.compute, plan.step.seconds, 1e-12);
}

TEST(LayoutPlan, ASlowerLinkBecomesTheWall) {
  launch::Machine machine = small_machine();
  const launch::Recipe recipe = mixture({.expert = 8});
  machine.between.all_to_all.beta = 1e-6;
  EXPECT_EQ(plan_layout(recipe, kOddVocabulary, machine, {2, 4}).wall, launch::Wall::kLinkBetween);
  machine = small_machine();
  machine.inside.all_to_all.beta = 1e-6;
  EXPECT_EQ(plan_layout(mixture({.expert = 4}), kOddVocabulary, machine, {1, 4}).wall, launch::Wall::kLinkInside);
  machine = small_machine();
  machine.memory_gib = 1e-4;
  const LayoutPlan none = plan_layout(recipe, kOddVocabulary, machine, {2, 4});
  EXPECT_FALSE(none.fits);
  EXPECT_EQ(none.wall, launch::Wall::kMemory);
}

TEST(LayoutPlan, MemoryGrowsWithImbalanceUpToTheBound) {
  launch::Recipe recipe = mixture({.expert = 4});
  recipe.mesh.receive_bound = 2;
  const auto total = [&](double imbalance) {
    return plan_layout(recipe, kOddVocabulary, small_machine(), {1, 4}, imbalance).memory.total();
  };
  EXPECT_LT(total(1), total(1.5));
  EXPECT_LT(total(1.5), total(2));
  EXPECT_EQ(total(2), total(4)) << "what is above goes in further passes";
  EXPECT_EQ(plan_of(recipe, {1, 4}).bounded.total(), total(4));
}

TEST(LayoutPlan, OffloadMovesTheOptimizerToTheHost) {
  launch::Recipe recipe = mixture({.expert = 2, .zero = 1});
  const auto here = plan_of(recipe, {1, 4}).memory;
  recipe.optimizer.offload = true;
  const auto there = plan_of(recipe, {1, 4}).memory;
  EXPECT_GT(here.state.optimizer, 0);
  EXPECT_EQ(here.state.host, 0);
  EXPECT_EQ(there.state.optimizer, 0);
  EXPECT_EQ(2 * there.state.host, 3 * here.state.optimizer) << "masters too";
  EXPECT_EQ(there.total(), here.total() - here.state.optimizer);
  EXPECT_EQ(here.state.pinned, 0);
  recipe.mesh.zero = 0;  // gradients and weights of one width, a block each that serves both ways, below twice its size
  const auto whole = plan_of(recipe, {1, 4}).memory.state;
  EXPECT_GE(3 * whole.pinned, whole.host);
  EXPECT_LT(3 * whole.pinned, 2 * whole.host);
  EXPECT_LT(there.state.pinned, whole.pinned);
}

TEST(LayoutPlan, AMissingLineIsNamed) {
  try {
    plan_of(mixture({.zero = 1}), {2, 4});
    FAIL() << "the machine has no reduce-scatter between hosts";
  } catch (const parallel::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("between.reduce_scatter"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("mesh.zero"), std::string::npos) << error.what();
  }
}

TEST(LayoutSearch, RanksWhatFitsAndSaysWhyTheRestDoesNot) {
  const auto search = launch::search_layouts(mixture({}), kOddVocabulary, small_machine(), {2, 4});
  ASSERT_FALSE(search.ranked.empty());
  EXPECT_TRUE(std::ranges::is_sorted(search.ranked, {}, &launch::RankedLayout::seconds));
  EXPECT_TRUE(search.ranked.front().planned);
  EXPECT_GT(search.illegal, 0) << "12 heads over 8 ranks";
  for (const auto& layout : search.ranked) {
    EXPECT_TRUE(layout.refused.empty());
    EXPECT_EQ(12 % layout.mesh.tensor, 0);
    EXPECT_EQ(8 % layout.mesh.expert, 0);
  }
  ASSERT_FALSE(search.refused.empty()) << "ZeRO between hosts: no line";
  for (const auto& layout : search.refused)
    EXPECT_NE(layout.refused.find("between."), std::string::npos) << layout.refused;
  // Each alone takes what the search says of it.
  launch::Recipe best = mixture(search.ranked.front().mesh);
  EXPECT_NEAR(plan_of(best, {2, 4}).step.seconds, search.ranked.front().seconds, 0.02 * search.ranked.front().seconds);

  launch::Machine small = small_machine();
  small.memory_gib = 1e-4;
  const auto none = launch::search_layouts(mixture({}), kOddVocabulary, small, {2, 4});
  EXPECT_TRUE(none.ranked.empty());
  ASSERT_FALSE(none.refused.empty());
  EXPECT_NE(none.refused.front().refused.find("GiB"), std::string::npos);
}

TEST(PlanReport, JsonHasTheTablesNumbers) {
  const launch::PlanRequest request{.recipe = mixture({.expert = 2, .expert_tensor = 2}),
                                    .vocabulary = kOddVocabulary,
                                    .machine = small_machine(),
                                    .cluster = {2, 4}};
  const LayoutPlan plan = plan_of(request.recipe, request.cluster);
  const auto json = plan_report_json(request, &plan, nullptr);
  EXPECT_EQ(json["plan"]["parameters"]["total"], plan.parameters.total);
  EXPECT_EQ(json["plan"]["memory"]["expected"]["total"], plan.memory.total());
  EXPECT_EQ(json["plan"]["traffic"]["expert"]["bytes"], plan.traffic.at("expert").bytes);
  EXPECT_EQ(json["plan"]["step"]["timeline"].size(), plan.step.timeline.tasks.size());
  const std::string table = plan_table(request, plan);
  for (const std::string& part :
       {std::to_string(plan.parameters.total), std::to_string(plan.traffic.at("expert").bytes), plan.step.plan.name,
        to_string(plan.wall), std::string("expert_tensor")}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << " in\n" << table;
  }
}

}  // namespace
