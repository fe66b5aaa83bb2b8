#include "launch/planning/machine_profile.h"

#include <gtest/gtest.h>

#include "launch/planning/step_prediction.h"
#include "parallel/base/fault.h"
#include "tests/launch/planning/planning_support.h"

namespace {

using launch::Cluster;
using launch::Machine;

launch::Recipe profiled_recipe(const parallel::MeshConfig& mesh) {
  launch::Recipe recipe = small_recipe();
  recipe.moe.experts = 8;
  recipe.mesh = mesh;
  return recipe;
}

/// What measuring `recipe` would find on a machine whose lines hold exactly.
launch::Profile profile_on(const Machine& machine, const launch::Recipe& recipe, const Cluster& cluster) {
  const auto parameters = launch::count_parameters(recipe, kOddVocabulary, cluster.ranks(), 0);
  const auto work = launch::workload_of(recipe, kOddVocabulary, cluster.ranks());
  launch::Profile profile{.machine = machine.name};
  profile.model = launch::step_costs(recipe, parameters, work, machine, cluster).model;
  return profile;
}

Machine known_machine() {
  Machine machine = small_machine();
  machine.sweep = {.alpha = 0, .beta = 3e-11};
  machine.compute_contention = 0.125;
  machine.between.all_gather = {.alpha = 3e-4, .beta = 3e-9};
  machine.between.reduce_scatter = {.alpha = 4e-4, .beta = 4e-9};
  return machine;
}

void expect_line(const launch::MachineLine& line, const launch::MachineLine& expected, const char* name) {
  EXPECT_NEAR(line.alpha, expected.alpha, 1e-9 * expected.alpha) << name;
  EXPECT_NEAR(line.beta, expected.beta, 1e-6 * expected.beta) << name;
}

TEST(MachineProfile, FindsTheLinesThatAProfileWasMadeBy) {
  const Machine known = known_machine();
  for (const Cluster cluster : {Cluster{2, 2}, Cluster{1, 4}}) {
    const launch::Recipe recipe = profiled_recipe({.expert = 2, .expert_tensor = 2});
    const Machine found = machine_of(
        profile_on(known, recipe, cluster),
        {.recipe = recipe, .vocabulary = kOddVocabulary, .cluster = cluster, .memory_gib = 1, .name = "measured"});
    expect_line(found.float32, known.float32, "multiply");
    expect_line(found.sweep, known.sweep, "sweep");
    EXPECT_EQ(found.compute_contention, 0.125);
    EXPECT_FALSE(found.bf16.given());
    const bool far = cluster.hosts > 1;  // expert 2 x expert_tensor 2: parts lie within a host of 2
    expect_line((far ? found.between : found.inside).all_to_all, (far ? known.between : known.inside).all_to_all,
                "rows");
    expect_line(found.inside.all_gather, known.inside.all_gather, "parts");
    expect_line(found.inside.reduce_scatter, known.inside.reduce_scatter, "sums of parts");
    expect_line((far ? found.between : found.inside).all_reduce, (far ? known.between : known.inside).all_reduce,
                "sums");
    EXPECT_FALSE((far ? found.inside : found.between).all_to_all.given()) << "was not measured";
  }
}

/// What is read off one recipe holds for another.
TEST(MachineProfile, PredictsAnotherRecipe) {
  const Machine known = known_machine();
  const Cluster cluster{2, 2};
  const launch::Recipe recipe = profiled_recipe({.expert = 4});
  launch::Recipe other = recipe;
  other.model.width = 48;
  other.moe.hidden = 40;
  other.train.global_batch = 36;
  const Machine found = machine_of(
      profile_on(known, recipe, cluster),
      {.recipe = recipe, .vocabulary = kOddVocabulary, .cluster = cluster, .memory_gib = 1, .name = "measured"});
  const parallel::StepModel model = profile_on(found, other, cluster).model,
                            expected = profile_on(known, other, cluster).model;
  for (size_t i = 0; i < expected.layers.size(); ++i) {
    const double seconds = expected.layers[i].dense_backward_seconds;
    EXPECT_GT(seconds, 0);
    EXPECT_NEAR(model.layers[i].dense_backward_seconds, seconds, 1e-6 * seconds);
  }
  EXPECT_EQ(model.contention.compute, 0.125);
}

TEST(MachineProfile, RefusesWhatItCannotTellApart) {
  const auto fault_of = [](const launch::Recipe& recipe, launch::Profile profile) -> std::string {
    try {
      machine_of(profile, {.recipe = recipe, .vocabulary = kOddVocabulary, .cluster = {1, 4}, .name = "measured"});
    } catch (const parallel::UserError& error) {
      return error.what();
    }
    return "none";
  };
  const launch::Recipe recipe = profiled_recipe({.expert = 4}), divided = profiled_recipe({.tensor = 2});
  EXPECT_NE(fault_of(recipe, {}).find("the experts' multiplications"), std::string::npos);
  EXPECT_NE(fault_of(divided, profile_on(known_machine(), recipe, {1, 4})).find("mesh.tensor = 2"), std::string::npos);
}

}  // namespace
