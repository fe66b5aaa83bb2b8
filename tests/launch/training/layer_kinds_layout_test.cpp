// Layers of several kinds in one model, and experts of several widths in one layer, give the same numbers on any ranks.
#include "tests/launch/training/trainer_fixture.h"
#include "tests/support/bounded_experts.h"

namespace {

/// [layer.other], as [moe] but for what `change` does.
void add_other(launch::Recipe& recipe, const char* placement, void (*change)(moetrain::MoeConfig&)) {
  moetrain::MoeConfig other = recipe.moe;
  other.name = "other";
  change(other);
  recipe.moe.named = {other}, recipe.moe.placement = placement;
}

struct KindsCase {
  const char* name;
  void (*change)(launch::Recipe&);
};

const KindsCase kKindsCases[] = {
    {"another_router_kind_number_width_and_choice_of_experts",
     [](launch::Recipe& r) {
       r.model.layers = 3, r.train.micro_batches = 2;
       add_other(r, "moe:0; other:2", [](moetrain::MoeConfig& c) {
         c.router = "sigmoid_bias", c.top_k = 3, c.experts = 12, c.hidden = 8, c.expert = "clamped_swiglu";
         c.own<moetrain::SigmoidBiasConfig>().bias_rate = 0.1;
         c.losses["entropy"] = 0.1, c.losses["load_balance"] = 0;
       });
     }},
    {"bounded_and_shared_behind_a_residual_of_logits",
     [](launch::Recipe& r) {
       r.model.layers = 3, r.train.recompute = "moe", r.moe.capacity = "factor", r.moe.zero_experts = 2;
       r.moe.own<moetrain::BoundConfig>() = {.factor = 0.8, .drop = moetrain::Drop::kProbability};
       add_other(r, "other:even; moe:1", [](moetrain::MoeConfig& c) {
         c.router = "mlp", c.gating_residual = true, c.experts = 12, c.hidden = 24, c.latent = 10, c.zero_experts = 0;
         c.capacity = "dropless", c.shared_hidden = 20;
       });
     }},
    {"experts_of_three_widths",
     [](launch::Recipe& r) {
       r.moe.expert = "feed_forward(24):1,feed_forward:2,feed_forward(8):3", r.train.micro_batches = 2;
     }},
    {"experts_that_share_weights",
     [](launch::Recipe& r) {
       r.moe.expert_weights = {0, 1, 0, 2, 1, 3}, r.moe.top_k = 3, r.train.micro_batches = 2;
       bound_experts(r.moe, 0.9);
     }},
    {"shared_weights_of_two_widths_recomputed",
     [](launch::Recipe& r) {
       r.train.recompute = "block";
       add_other(r, "moe:0; other:1", [](moetrain::MoeConfig& c) {
         c.expert_weights = {2, 1, 0, 0, 1, 0}, c.expert = "feed_forward(24):2,feed_forward:1";
       });
     }},
    {"widths_in_one_of_two_kinds_recomputed_by_muon",
     [](launch::Recipe& r) {
       r.train.recompute = "block", r.optimizer.kind = "muon", r.model.activation = "gelu";
       add_other(r, "moe:0; other:1", [](moetrain::MoeConfig& c) { c.expert = "feed_forward:4,feed_forward(6):2"; });
     }},
};

/// Whether a layer's experts have weights that no layout shares out, such as clamped_swiglu's biases.
bool stay_whole(const moetrain::MoeConfig& layer) { return layer.expert == "clamped_swiglu"; }

class LayerKinds : public testing::TestWithParam<size_t> {};

TEST_P(LayerKinds, AgreeWithOneRankInFloat64) {
  const auto world = test_world();
  const TestFolder folder("layer_kinds", *world);
  launch::Recipe recipe = tiny_recipe(make_tiny_corpus(folder, *world));
  kKindsCases[GetParam()].change(recipe);
  const UpdateTrace reference = trace_of_one_rank(recipe, updates_of_case());
  for (const parallel::MeshConfig& mesh : layouts_of_case(recipe, world->size(), GetParam())) {
    if (mesh.expert_tensor > 1 && std::ranges::any_of(recipe.moe.named, stay_whole)) continue;
    const launch::Groups groups = test_groups(mesh, stated_hosts(mesh, world->size()));
    SCOPED_TRACE(groups.mesh->shape().describe());
    expect_same_trace(run_updates(recipe, groups, updates_of_case()), reference, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LayerKinds, testing::Range(size_t{0}, std::size(kKindsCases)),
                         [](const auto& each) { return std::string(kKindsCases[each.param].name); });

/// Layers of two kinds, one of them of experts of two widths.
launch::Recipe of_two_kinds(launch::Recipe recipe) {
  add_other(recipe, "moe:0; other:1", [](moetrain::MoeConfig& c) {
    c.router = "sigmoid_bias", c.top_k = 3, c.expert = "feed_forward:4,feed_forward(6):2";
    c.own<moetrain::SigmoidBiasConfig>().bias_rate = 0.1;
  });
  return recipe;
}

TEST_F(TrainerTest, LayersOfSeveralKindsGoOnAtAnotherLayout) {
  launch::Recipe recipe = of_two_kinds(recipe_in("kinds", "float64"));
  const std::vector<parallel::MeshConfig> layouts = test_layouts(recipe, world_->size());
  recipe.mesh = layouts.front();
  ASSERT_EQ(run(recipe), launch::Trainer::End::kDone);
  const auto expected = saved_parameters(recipe, 6);
  parallel::all_ranks(*world_, [] {});  // all have read it
  parallel::all_ranks(*world_, [&] {
    if (world_->rank() == 0) std::filesystem::remove(launch::checkpoint_path(recipe.run.folder, 6));
  });
  recipe.mesh = layouts.back();
  ASSERT_EQ(run(recipe, /*resume=*/true), launch::Trainer::End::kDone);
  const auto found = saved_parameters(recipe, 6);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_LE((found[i] - expected[i]).abs().max().item<double>(), 1e-10 * expected[i].abs().max().item<double>());
  }
}

}  // namespace
