// What published models have beyond plain grouped-query attention gives the same numbers on any number of ranks.
#include "tests/launch/training/training_support.h"
#include "tests/support/tiny_corpus.h"
#include "tests/support/world.h"

namespace {

struct AttentionCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

void use_latent(launch::Recipe& r, int64_t query_rank, const char* pairs) {
  r.model.attending.kind = "latent", r.model.kv_heads = r.model.heads;
  r.model.attending.own<moetrain::LatentConfig>() = {
      .query_rank = query_rank, .kv_rank = 5, .plain_width = 3, .turned_width = 4, .value_width = 5, .pairs = pairs};
}

const AttentionCase kAttentionCases[] = {
    {"biases_and_heads_of_another_width",
     [](launch::Recipe& r) {
       r.model.attending.bias = "all", r.model.attending.head_width = 6, r.model.ffn_bias = true;
       r.moe.layers = "odd", r.moe.shared_hidden = 20;
     }},
    {"norm_of_each_head_biases_of_three",
     [](launch::Recipe& r) { r.model.attending.norm = "head", r.model.attending.bias = "qkv"; }},
    {"norm_over_all_heads_clipped",
     [](launch::Recipe& r) {
       r.model.attending.norm = "all", r.model.attending.clip = 0.5, r.train.micro_batches = 2;
     }},
    {"norm_over_all_heads_recomputed",
     [](launch::Recipe& r) { r.model.attending.norm = "all", r.model.kv_heads = 12, r.train.recompute = "block"; }},
    {"window_in_every_other_block",
     [](launch::Recipe& r) { r.model.attending.window = 5, r.model.attending.windowed = "odd"; }},
    {"sinks_and_a_window_of_one",
     [](launch::Recipe& r) { r.model.attending.sinks = true, r.model.attending.window = 1; }},
    {"positions_by_distance_in_a_window_with_sinks",
     [](launch::Recipe& r) {
       r.model.attending.positions = "relative", r.model.attending.scaled = false, r.model.attending.sinks = true;
       r.model.attending.window = 5, r.model.attending.windowed = "odd", r.model.scaled_head = true;
       r.model.attending.own<moetrain::RelativeConfig>() = {.buckets = 6, .longest = 9};
     }},
    {"stretched_positions",
     [](launch::Recipe& r) {
       r.model.attending.rope = "yarn", r.model.attending.head_width = 8;
       r.model.attending.own<moetrain::YarnConfig>().original_length = 8;
     }},
    {"latent", [](launch::Recipe& r) { use_latent(r, 7, "adjacent"), r.model.attending.bias = "all"; }},
    {"stick_breaking",
     [](launch::Recipe& r) {
       r.model.attending.weights = "stick_breaking", r.model.attending.positions = "none";
       r.train.micro_batches = 2;
     }},
    {"latent_of_queries_alone_one_sequence",
     [](launch::Recipe& r) { use_latent(r, 0, "half"), r.train.global_batch = 1; }},
    {"clamped_experts_with_biases_by_a_biased_router",
     [](launch::Recipe& r) { r.moe.expert = "clamped_swiglu", r.moe.router_bias = true, r.train.micro_batches = 2; }},
    {"groups_judged_by_their_best",
     [](launch::Recipe& r) {
       r.moe.router = "grouped_top_k", r.moe.gate = "raw", r.moe.route_scale = 4;
       r.moe.own<moetrain::GroupedTopKConfig>() = {3, 2};
     }},
};

/// Experts in the place of every attention, [layer.heads], beside those of feed-forwards.
void use_modules(launch::Recipe& r, const char* expert, int64_t kv_heads) {
  moetrain::MoeConfig heads = r.moe;
  heads.name = "heads", heads.expert = expert, heads.hidden = 24, heads.gate = "raw", heads.router = "mlp";
  heads.losses["mutual_information"] = 0.1, heads.losses["load_balance"] = 0;
  r.moe.named = {heads}, r.moe.placement = "moe:all; heads.attention:all", r.model.kv_heads = kv_heads;
}

const AttentionCase kModulesCases[] = {
    {"modules", [](launch::Recipe& r) { use_modules(r, "heads", 12), r.train.micro_batches = 2; }},
    {"modules_of_sticks_in_one_block_recomputed",
     [](launch::Recipe& r) {
       use_modules(r, "heads:4,heads(24):2", 12), r.train.recompute = "block";
       r.moe.placement = "moe:0; heads.attention:1", r.moe.named.front().jitter = 0.1;
       r.model.attending.weights = "stick_breaking", r.model.attending.positions = "none";
     }},
    {"modules_biased_and_bounded_with_positions_by_distance",
     [](launch::Recipe& r) {
       use_modules(r, "heads", 12), r.train.recompute = "moe", r.model.attending.positions = "relative";
       moetrain::MoeConfig& heads = r.moe.named.front();
       heads.router = "sigmoid_bias", heads.own<moetrain::SigmoidBiasConfig>().bias_rate = 0.1;
       heads.losses["mutual_information"] = 0, heads.experts = 12, heads.top_k = 3;
       heads.capacity = "factor", heads.own<moetrain::BoundConfig>().factor = 0.8;
       r.model.attending.window = 5, r.model.attending.windowed = "odd";
     }},
    {"modules_by_muon_with_dropout",
     [](launch::Recipe& r) {
       use_modules(r, "heads", 12), r.optimizer.kind = "muon", r.model.dropout = 0.2, r.train.global_batch = 2;
     }},
};

class AttentionLayout : public testing::TestWithParam<size_t> {};

TEST_P(AttentionLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("attention_layout", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  kAttentionCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (parallel::MeshConfig mesh : test_layouts(recipe, world->size())) {
    if (recipe.moe.expert != "feed_forward" && mesh.expert_tensor > 1) continue;  // whose biases no layout cuts
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionLayout, testing::Range(size_t{0}, std::size(kAttentionCases)),
                         [](const auto& each) { return std::string(kAttentionCases[each.param].name); });

class ModulesLayout : public testing::TestWithParam<size_t> {};

TEST_P(ModulesLayout, AgreesWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("modules_layout", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  kModulesCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : test_layouts(recipe, world->size())) {
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ModulesLayout, testing::Range(size_t{0}, std::size(kModulesCases)),
                         [](const auto& each) { return std::string(kModulesCases[each.param].name); });

}  // namespace
