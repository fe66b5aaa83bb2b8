#include "launch/planning/parameter_table.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "launch/models/model_builder.h"
#include "launch/planning/memory_model.h"
#include "parallel/dispatch/autograd_compute.h"
#include "tests/launch/planning/planning_support.h"

namespace {

using launch::count_parameters;
using launch::ParameterTable;

TEST(ParameterTable, EqualsRealModelsOnEveryRank) {
  for (const LayoutCase& each : small_cases()) {
    launch::Recipe recipe = each.recipe;
    recipe.mesh = each.mesh;
    const auto whole = launch::build_model(each.recipe, kOddVocabulary, at::kCPU)->parameter_count();
    std::map<std::string, double> held;  // by name, each rank's part of it
    for (int64_t rank = 0; rank < each.ranks; ++rank) {
      const auto mesh = std::make_shared<const parallel::Mesh>(recipe.mesh, each.ranks, rank);
      const auto model = launch::build_model(recipe, kOddVocabulary, at::kCPU, mesh);
      const ParameterTable table = count_parameters(recipe, kOddVocabulary, each.ranks, rank);
      EXPECT_EQ(table.total, whole.total) << each.name << ", rank " << rank << " of " << each.ranks;
      EXPECT_EQ(table.active, whole.active) << each.name << ", rank " << rank << " of " << each.ranks;
      int64_t elements = 0;
      for (const auto& parameter : model->named_parameters()) {
        const auto* share = table.find(parameter.key());
        ASSERT_NE(share, nullptr) << parameter.key();
        EXPECT_EQ(share->elements, parameter.value().numel()) << each.name << ": " << parameter.key();
        elements += parameter.value().numel();
        held[parameter.key()] += static_cast<double>(share->elements) / static_cast<double>(share->sharers);
      }
      EXPECT_EQ(table.elements(), elements) << each.name;
    }
    double sum = 0;
    for (const auto& [name, elements] : held) sum += elements;
    EXPECT_NEAR(sum, static_cast<double>(whole.total), 1e-6) << each.name << ": the ranks hold the model once";
  }
}

/// One weight of `width` numbers for each expert, and one of hidden units where `shared`.
template <bool shared>
std::vector<moetrain::ExpertWeight> scales(const moetrain::ExpertShape& shape, const moetrain::MoeConfig&) {
  std::vector<moetrain::ExpertWeight> weights{{.name = "scale", .dims = {shape.width}}};
  if (shared) weights = {{.name = "up", .dims = {shape.width, shape.hidden}, .hidden_dim = 1}};
  return weights;
}

/// What its weights would do is not looked at.
std::shared_ptr<const parallel::ExpertCompute> nothing(const moetrain::ExpertShape&, const moetrain::MoeConfig&) {
  return std::make_shared<parallel::AutogradCompute>([](const at::Tensor& rows_ND, const auto&) { return rows_ND; });
}

TEST(ParameterTable, AnExpertKindIsSharedOutByItsHiddenUnitsOrNotAtAll) {
  launch::Registry registry;
  registry.experts.add("scales", {.weights = scales<false>, .compute = nothing});
  registry.experts.add("ups", {.weights = scales<true>, .compute = nothing});
  launch::Recipe recipe = small_cases().front().recipe;
  recipe.registry = std::make_shared<const launch::Registry>(registry);
  recipe.moe.layers = "all";
  recipe.mesh = {.expert_tensor = 2};
  recipe.moe.expert = "ups";
  const ParameterTable table = count_parameters(recipe, kOddVocabulary, 2, 1);
  const auto* up = table.find("blocks.0.moe.experts.up");
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(2 * up->elements, recipe.moe.experts * recipe.model.width * recipe.moe.hidden);
  recipe.moe.expert = "scales";
  try {
    count_parameters(recipe, kOddVocabulary, 2, 1);
    FAIL() << "it was shared out";
  } catch (const parallel::UserError& error) {
    EXPECT_STREQ(
        error.what(),
        "mesh.expert_tensor = 2 with moe.expert = \"scales\": its weight \"scale\" has no hidden units to share "
        "out; legal: expert_tensor = 1, or expert = \"feed_forward\"");
  }
}

TEST(ParameterTable, TheRankOfTheWideExpertsHasMost) {
  launch::Recipe recipe = small_recipe();
  recipe.mesh = {.expert = 3};
  recipe.moe.expert = "feed_forward(8):2,feed_forward(40):2,feed_forward:2";
  const ParameterTable most = largest_parameters(recipe, kOddVocabulary, parallel::mesh_shape(recipe.mesh, 3));
  EXPECT_EQ(most.elements(), count_parameters(recipe, kOddVocabulary, 3, 1).elements());
  const int64_t expert = 3 * recipe.model.width;  // numbers of a hidden unit
  EXPECT_EQ(most.elements() - count_parameters(recipe, kOddVocabulary, 3, 2).elements(),
            recipe.model.layers * 2 * expert * (40 - 16));
  // Of 6 experts a token visits 2: of their mean a third.
  EXPECT_EQ(most.total - most.active, recipe.model.layers * 4 * expert * (2 * (8 + 40 + 16)) / 6);
}

TEST(ParameterTable, AWidthThatCannotBeSharedOutIsNamedWhereItIsSaid) {
  launch::Recipe recipe = small_recipe();
  moetrain::MoeConfig other = recipe.moe;
  other.name = "other", other.hidden = 18, other.expert = "feed_forward:4,feed_forward(20):2";
  recipe.moe.named = {other}, recipe.moe.placement = "moe:0; other:1";
  const auto fault = [&](int64_t expert_tensor) -> std::string {
    recipe.mesh = {.expert_tensor = expert_tensor};
    try {
      count_parameters(recipe, kOddVocabulary, 12, 0);
    } catch (const parallel::UserError& error) {
      return error.what();
    }
    return "no fault";
  };
  EXPECT_EQ(fault(2), "no fault");
  EXPECT_EQ(fault(4),
            "mesh.expert_tensor = 4 does not divide layer.other.hidden = 18; legal: a hidden width such as 16 or "
            "20");
  recipe.moe.named[0].hidden = 16, recipe.moe.named[0].expert = "feed_forward:4,feed_forward(21):2";
  EXPECT_EQ(fault(4),
            "mesh.expert_tensor = 4 does not divide the 21 of layer.other.expert; legal: a hidden width such as "
            "20 or 24");
}

TEST(ParameterTable, CountsWhatNoMachineHolds) {
  launch::Recipe recipe = small_recipe();
  recipe.run.precision = "bf16";
  recipe.model.layers = 60;
  recipe.model.width = 7168;
  recipe.model.heads = recipe.model.kv_heads = 128;
  recipe.moe.experts = 256;
  recipe.moe.hidden = 2048;
  recipe.mesh = {.tensor = 8, .expert = 16, .expert_tensor = 8, .zero = 1};
  const ParameterTable table = count_parameters(recipe, 128000, 1024, 1023);
  // Of a block: queries, keys, values and outputs; router; experts; two norms.
  const int64_t width = 7168, block = 4 * width * width + 256 * width + 256 * 3 * width * 2048 + 2 * width;
  EXPECT_EQ(table.total, 60 * block + 128000 * width + width);
  EXPECT_EQ(table.active, table.total - 60 * int64_t{254} * 3 * width * 2048);
}

TEST(StateMemory, DividesWhatZeroDivides) {
  launch::Recipe recipe = small_recipe();
  const int64_t all = count_parameters(recipe, kOddVocabulary, 8, 7).elements();
  const auto of = [&](const char* precision, int64_t zero) {
    recipe.run.precision = precision;
    recipe.mesh.zero = zero;
    return launch::state_memory(recipe, count_parameters(recipe, kOddVocabulary, 8, 7));
  };
  EXPECT_EQ(of("float32", 0).total(), all * (4 + 4 + 8));
  EXPECT_EQ(of("float64", 0).total(), all * (8 + 8 + 16));
  EXPECT_EQ(of("bf16", 0).total(), all * (2 + 4 + 12));
  const auto eighth = static_cast<double>(all) / 8;
  EXPECT_NEAR(static_cast<double>(of("bf16", 1).optimizer), 12 * eighth, 12 * 50) << "rounded up by parameter";
  EXPECT_NEAR(static_cast<double>(of("bf16", 1).gradients), 4 * (static_cast<double>(all) + eighth), 4 * 50);
  EXPECT_NEAR(static_cast<double>(of("bf16", 2).gradients), 4 * eighth, 4 * 50);
  EXPECT_EQ(of("bf16", 2).weights, all * 2);
}

}  // namespace
