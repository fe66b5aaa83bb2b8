// The same recipe and seed give the same numbers on any number of ranks.
#include "moetrain/losses/load_balance.h"
#include "tests/launch/training/training_support.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

struct LayoutCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

/// A router without parameters has no losses either.
void choose(launch::Recipe& recipe, const char* router, int64_t top_k, const char* gate) {
  recipe.moe.router = router;
  recipe.moe.top_k = top_k;
  recipe.moe.gate = gate;
  if (std::string(gate) == "hard") recipe.moe.losses["load_balance"] = recipe.moe.losses["router_z"] = 0;
}

const LayoutCase kLayoutCases[] = {
    {"dropless", [](launch::Recipe&) {}},
    {"capacity", [](launch::Recipe& r) { bound_experts(r.moe, 0.9); }},
    {"capacity_two_micro_batches", [](launch::Recipe& r) { bound_experts(r.moe, 1.0), r.train.micro_batches = 2; }},
    {"gated_shared_expert", [](launch::Recipe& r) { r.moe.shared_hidden = 20; }},
    {"plain_shared_expert_raw_gate",
     [](launch::Recipe& r) { r.moe.shared_hidden = 20, r.moe.shared_gate = false, r.moe.gate = "raw"; }},
    {"switch_like", [](launch::Recipe& r) { r.moe.top_k = 1, r.moe.gate = "raw", r.moe.losses["load_balance"] = 0.1; }},
    {"drop_by_probability", [](launch::Recipe& r) { bound_experts(r.moe, 0.9, "probability"); }},
    {"drop_at_random", [](launch::Recipe& r) { bound_experts(r.moe, 0.9, "random"), r.train.micro_batches = 2; }},
    {"switch_router",
     [](launch::Recipe& r) { choose(r, "switch", 1, "raw"), r.moe.jitter = 0.01, r.moe.capacity = "factor"; }},
    {"gshard",
     [](launch::Recipe& r) {
       choose(r, "gshard", 2, "sum1_kept"), r.moe.own<moetrain::LoadBalanceConfig>().choices = "first",
                                            r.moe.capacity = "factor";
     }},
    {"noisy_top_k_importance_load",
     [](launch::Recipe& r) {
       choose(r, "noisy_top_k", 2, "sum1"), r.moe.losses["importance"] = 0.1, r.moe.losses["load"] = 0.1,
                                            r.train.micro_batches = 2;
     }},
    {"cosine", [](launch::Recipe& r) { choose(r, "cosine", 1, "raw"), r.moe.own<moetrain::CosineConfig>().width = 4; }},
    {"hash", [](launch::Recipe& r) { choose(r, "hash", 1, "hard"), r.moe.capacity = "factor"; }},
    {"thor_slices",
     [](launch::Recipe& r) {
       choose(r, "thor", 1, "hard"), r.moe.own<moetrain::ThorConfig>().granularity = "slices",
                                     r.train.micro_batches = 2;
     }},
    {"thor_sentence",
     [](launch::Recipe& r) {
       choose(r, "thor", 1, "hard"), r.moe.own<moetrain::ThorConfig>().granularity = "sentence";
     }},
    {"thor_token",
     [](launch::Recipe& r) { choose(r, "thor", 1, "hard"), r.moe.own<moetrain::ThorConfig>().granularity = "token"; }},
    {"thor_batch_layer",
     [](launch::Recipe& r) {
       choose(r, "thor", 1, "hard"), r.moe.own<moetrain::ThorConfig>().granularity = "batch_layer";
     }},
    {"sigmoid_bias_in_groups",
     [](launch::Recipe& r) {
       choose(r, "sigmoid_bias", 2, "sum1"), r.moe.own<moetrain::SigmoidBiasConfig>() = {3, 2, 0.1},
                                             r.train.micro_batches = 2;
       r.moe.route_scale = 2.5, r.moe.own<moetrain::LoadBalanceConfig>().over = "sequence";
     }},
    {"expert_choice",
     [](launch::Recipe& r) {
       choose(r, "expert_choice", 2, "raw"), bound_experts(r.moe, 1.25, "probability");
       r.moe.losses["load_balance"] = 0, r.train.micro_batches = 2;
     }},
    {"sinkhorn_of_one", [](launch::Recipe& r) { choose(r, "sinkhorn", 1, "raw"), r.train.micro_batches = 2; }},
    {"sinkhorn_of_two", [](launch::Recipe& r) { choose(r, "sinkhorn", 2, "raw"); }},
    {"mlp_with_gating_residual", [](launch::Recipe& r) { choose(r, "mlp", 2, "sum1"), r.moe.gating_residual = true; }},
    {"balance_within_sequences_of_first_choices",
     [](launch::Recipe& r) {
       r.moe.losses["load_balance"] = 0.1, r.moe.own<moetrain::LoadBalanceConfig>().over = "sequence",
       r.moe.own<moetrain::LoadBalanceConfig>().choices = "first";
     }},
    {"balance_over_the_global_batch",
     [](launch::Recipe& r) {
       r.moe.losses["load_balance"] = 0.1, r.moe.own<moetrain::LoadBalanceConfig>().over = "global_batch",
       r.train.micro_batches = 3;
       r.moe.own<moetrain::LoadBalanceConfig>().per_choice = false;
     }},
    {"concentration_until_the_second_update",
     [](launch::Recipe& r) {
       r.moe.losses["concentration"] = {0.1, 1, 1};
     }},
    {"importance_of_experts_without_tokens",
     [](launch::Recipe& r) { r.moe.losses["importance"] = 0.1, r.moe.experts = 40, r.train.global_batch = 1; }},
    {"mutual_information",
     [](launch::Recipe& r) { r.moe.losses["mutual_information"] = 0.1, r.train.micro_batches = 2; }},
    {"entropy", [](launch::Recipe& r) { r.moe.losses["entropy"] = 0.1; }},
    {"gelu_layer_norm_untied",
     [](launch::Recipe& r) { r.model.activation = "gelu", r.model.norm = "layer", r.model.tie_embeddings = false; }},
    {"relu", [](launch::Recipe& r) { r.model.activation = "relu", r.moe.layers = "odd"; }},
    {"pre_gated_and_taught",
     [](launch::Recipe& r) {
       choose(r, "pre_gated", 1, "hard"), r.moe.own<moetrain::PreGateConfig>() = {2, 8, 2, 12, 20};
       r.objective.kind = "pre_gate", r.moe.shared_hidden = 20, r.moe.shared_gate = false, r.train.micro_batches = 2;
     }},
    {"pre_gated_by_its_gates_recomputed",
     [](launch::Recipe& r) {
       choose(r, "pre_gated", 2, "raw"), r.moe.own<moetrain::PreGateConfig>() = {1, 12, 3, 10, 0};
       r.train.recompute = "block", bound_experts(r.moe, 0.9, "random"), r.train.micro_batches = 2;
     }},
    {"pre_gated_straight_through_of_recomputed_experts",
     [](launch::Recipe& r) {
       choose(r, "pre_gated", 1, "straight_through"), r.moe.own<moetrain::PreGateConfig>() = {1, 8, 2, 10, 0};
       r.train.recompute = "moe", r.moe.losses["load_balance"] = 0.1, r.train.global_batch = 1;
     }},
    {"zero_copy_constant_bounded",
     [](launch::Recipe& r) {
       r.moe.zero_experts = r.moe.copy_experts = 1, r.moe.constant_experts = 2;
       bound_experts(r.moe, 0.9), r.train.micro_batches = 2;
     }},
    {"nulls", [](launch::Recipe& r) { r.moe.null_experts = 6, r.moe.top_k = 4; }},
    {"more_choices_than_ffn_experts",
     [](launch::Recipe& r) { r.moe.null_experts = 9, r.moe.top_k = 8, r.train.global_batch = 1; }},
    {"residual_pyramid",
     [](launch::Recipe& r) {
       choose(r, "switch", 1, "raw"), r.moe.capacity = "factor", r.moe.experts_by_layer = {4, 7};
       r.moe.shared_hidden = 20, r.moe.shared_gate = false, r.moe.shared_combine = "residual";
     }},
    {"latent_beside_shared_and_copy",
     [](launch::Recipe& r) { r.moe.latent = 10, r.moe.shared_hidden = 20, r.moe.copy_experts = 1; }},
    {"dense_and_experts_mixed", [](launch::Recipe& r) { r.moe.layers = "odd"; }},
    {"dense", [](launch::Recipe& r) { r.moe.layers = "none"; }},
    {"three_micro_batches_uneven", [](launch::Recipe& r) { r.train.micro_batches = 3, r.train.global_batch = 15; }},
    {"fewer_sequences_than_ranks", [](launch::Recipe& r) { r.train.global_batch = 2; }},
    {"one_sequence", [](launch::Recipe& r) { r.train.global_batch = 1; }},
    {"experts_without_tokens", [](launch::Recipe& r) { r.moe.experts = 40, r.train.global_batch = 1; }},
    {"offloaded_optimizer", [](launch::Recipe& r) { r.optimizer.offload = true, r.train.micro_batches = 2; }},
    {"recomputed_blocks", [](launch::Recipe& r) { r.train.recompute = "block", r.train.micro_batches = 2; }},
    {"recomputed_experts_with_capacity",
     [](launch::Recipe& r) {
       r.train.recompute = "moe", bound_experts(r.moe, 0.9, "random");
       r.moe.shared_hidden = 20;
     }},
    {"recomputed_blocks_noisy_with_all_losses",
     [](launch::Recipe& r) {
       choose(r, "noisy_top_k", 2, "sum1"), r.train.recompute = "block", r.moe.layers = "odd";
       for (const std::string& loss : r.registry->losses.names()) r.moe.losses[loss] = 0.1;
       r.moe.own<moetrain::LoadBalanceConfig>().over = "sequence";
     }},
    {"frozen_but_for_one_block_with_factors",
     [](launch::Recipe& r) {
       r.train.frozen = "embedding.*, blocks.0.*, *.router.*, *.experts.up";
       r.optimizer.learning_rate_factors = "*.experts.*: 3, *norm*: 0.25";
     }},
    {"adapters_everywhere",
     [](launch::Recipe& r) { r.lora.layers = "*", r.moe.shared_hidden = 20, r.train.micro_batches = 2; }},
    {"adapters_with_dropout",
     [](launch::Recipe& r) {
       r.lora = {"*.attention.*, *.feed_forward.*, *.shared*, *.latent_*", 3, 5, 0.3};
       r.train.recompute = "block", r.train.micro_batches = 2, r.moe.layers = "odd", r.moe.shared_hidden = 20,
       r.moe.latent = 10;
     }},
    {"adapters_of_recomputed_experts",
     [](launch::Recipe& r) {
       r.lora = {"*.experts.*", 3, 5}, r.train.recompute = "moe", bound_experts(r.moe, 0.9);
     }},
    // Ranks without tokens take part in the backward of a block before which nothing is trained.
    {"adapters_of_attention_and_one_sequence",
     [](launch::Recipe& r) { r.lora.layers = "*.attention.*", r.train.global_batch = 1, r.moe.layers = "odd"; }},
    {"adapters_of_one_recomputed_attention",
     [](launch::Recipe& r) {
       r.lora.layers = "blocks.0.*.query", r.train.global_batch = 1, r.train.recompute = "block";
     }},
    {"recomputed_blocks_of_one_sequence",
     [](launch::Recipe& r) { r.train.recompute = "block", r.train.global_batch = 1, r.moe.experts = 40; }},
};

/// Routers of language models that no case above (nor, of tasks, task_layout_test.cpp) names: as their presets demand
/// them, dropping by probability.
std::vector<std::string> other_routers() {
  const parallel::NameTable<moetrain::RouterPreset> routers = moetrain::builtin_routers();
  std::vector<std::string> others = routers.names();
  std::erase_if(others, [&](const std::string& name) {
    const moetrain::RouterDemands& demands = routers.at(name).demands;
    bool named = !demands.causal_safe || demands.reads_tasks || name == "top_k";
    for (const LayoutCase& each : kLayoutCases) {
      launch::Recipe recipe = tiny_recipe("");
      each.change(recipe);
      named |= recipe.moe.router == name;
    }
    return named;
  });
  return others;
}

class OtherRouterLayouts : public testing::TestWithParam<std::string> {};

TEST_P(OtherRouterLayouts, AgreeWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("other_router", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  const moetrain::RouterDemands demands = moetrain::builtin_routers().at(GetParam()).demands;
  choose(recipe, GetParam().c_str(), demands.top_k > 0 ? demands.top_k : 3,
         parallel::Enum(demands.gates.front()).name());
  if (demands.capacity) bound_experts(recipe.moe, 0.7);
  if (demands.learned) recipe.moe.own<moetrain::BoundConfig>().drop = "probability";
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : test_layouts(recipe, world->size())) {
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, OtherRouterLayouts, testing::ValuesIn(other_routers()),
                         [](const auto& each) { return each.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OtherRouterLayouts);

std::vector<std::string> other_updates() {
  std::vector<std::string> names = optim::builtin_updates().names();
  std::erase(names, "adamw");
  return names;
}

/// Every update rule that no case above names, on matrices of every kind that a model has.
class UpdateLayouts : public testing::TestWithParam<std::string> {};

TEST_P(UpdateLayouts, AgreeWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("update_rule", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  recipe.optimizer.kind = GetParam();
  recipe.moe.shared_hidden = 20, recipe.moe.constant_experts = 2, recipe.train.micro_batches = 2;
  recipe.moe.layers = "odd", recipe.model.tie_embeddings = false;
  choose(recipe, "cosine", 1, "raw");
  const UpdateTrace reference = trace_of_one_rank(recipe, 3);
  std::vector<parallel::MeshConfig> layouts = test_layouts(recipe, world->size());
  if (world->size() == 4) layouts.push_back({.tensor = 2, .expert_tensor = 2, .zero = 1});
  for (const parallel::MeshConfig& mesh : layouts) {
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, 3), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, UpdateLayouts, testing::ValuesIn(other_updates()),
                         [](const auto& each) { return each.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(UpdateLayouts);

class LayoutEquality : public testing::TestWithParam<size_t> {};

TEST_P(LayoutEquality, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("layout", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  kLayoutCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe() + ", " + mesh.dispatch.name());
    EXPECT_EQ(groups.mesh->dispatches_by_host(), mesh.dispatch == parallel::Dispatch::kHierarchical);
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LayoutEquality, testing::Range(size_t{0}, std::size(kLayoutCases)),
                         [](const auto& each) { return std::string(kLayoutCases[each.param].name); });

TEST(LayoutEquality, OfTextFromSeveralFiles) {
  const auto world = test_world();
  const TestFolder folder("mixture", *world);
  const std::string large = make_tiny_corpus(folder, *world), small = make_tiny_corpus(folder, *world, 14, "small");
  launch::Recipe recipe = tiny_recipe(large + ":2," + small + ":1");
  recipe.train.micro_batches = 2, bound_experts(recipe.moe, 0.9);
  const UpdateTrace reference = trace_of_one_rank(recipe, 3);
  for (const parallel::MeshConfig& mesh : test_layouts(recipe, world->size())) {
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, 3), reference, 1e-10);
  }
}

/// Rounding may decide a near tie between two experts differently, so these tolerances are wide; float64 is the proof.
TEST(LayoutEqualityInLowPrecision, LossesAgree) {
  const auto world = test_world();
  const TestFolder folder("layout_low", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  for (const auto& [precision, tolerance] : {std::pair{"float32", 1e-4}, std::pair{"bf16", 2e-2}}) {
    recipe.run.precision = precision;
    const UpdateTrace reference = trace_of_one_rank(recipe, 3);
    for (const parallel::MeshConfig& mesh : test_layouts(recipe, world->size())) {
      const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
      SCOPED_TRACE(precision + (": " + groups.mesh->shape().describe()));
      const UpdateTrace trace = run_updates(recipe, groups, 3);
      for (size_t i = 0; i < reference.reports.size(); ++i) {
        const double expected = reference.reports[i].total_loss();
        EXPECT_NEAR(trace.reports[i].total_loss(), expected, tolerance * expected) << "update " << i + 1;
      }
    }
  }
}

TEST(Rerun, IsBitwiseEqualOnTheSameLayout) {
  const auto world = test_world();
  const TestFolder folder("rerun", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  recipe.run.precision = "float32";
  const launch::Groups groups = test_groups();
  const UpdateTrace first = run_updates(recipe, groups, 3), second = run_updates(recipe, groups, 3);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(first.reports[i].losses, second.reports[i].losses);
  for (size_t i = 0; i < first.parameters.size(); ++i) {
    EXPECT_TRUE(at::equal(first.parameters[i], second.parameters[i])) << "parameter " << i;
  }
}

TEST(LayoutEquality, SeedsDiffer) {  // the equality above is not that of a constant
  const auto world = test_world();
  const TestFolder folder("seeds", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  const double first = run_updates(recipe, launch::local_groups(), 1).reports[0].total_loss();
  recipe.run.seed = 2;
  EXPECT_NE(run_updates(recipe, launch::local_groups(), 1).reports[0].total_loss(), first);
}

}  // namespace
