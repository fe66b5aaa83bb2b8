// defines: small_recipe, small_cases, LayoutCase, small_machine: recipes and layouts that planning is tested with
#pragma once
#include <string>
#include <vector>

#include "launch/profiles/machine_file.h"
#include "launch/recipe/recipe.h"

constexpr int64_t kOddVocabulary = 263;  // that no number of ranks divides

inline launch::Recipe small_recipe() {
  launch::Recipe recipe;
  recipe.data.file = "absent.h5";
  recipe.model.layers = 4;
  recipe.model.width = 24;
  recipe.model.heads = 12;
  recipe.model.kv_heads = 2;
  recipe.model.ffn_hidden = 36;
  recipe.moe.experts = 6;
  recipe.moe.hidden = 16;
  recipe.train.global_batch = 24;
  return recipe;
}

struct LayoutCase {
  std::string name;
  launch::Recipe recipe;
  parallel::MeshConfig mesh;
  int64_t ranks = 1;
};

/// Every kind of block on layouts that divide it in every way, uneven ones too.
inline std::vector<LayoutCase> small_cases() {
  const auto changed = [](auto change) {
    launch::Recipe recipe = small_recipe();
    change(recipe);
    return recipe;
  };
  const std::vector<std::pair<std::string, launch::Recipe>> recipes = {
      {"dense", changed([](auto& r) { r.moe.layers = "none", r.model.activation = "gelu", r.model.norm = "layer"; })},
      {"mixture", changed([](auto& r) { r.moe.layers = "odd"; })},
      {"untied", changed([](auto& r) { r.model.tie_embeddings = false, r.model.kv_heads = 12; })},
      {"shared", changed([](auto& r) { r.moe.shared_hidden = 20; })},
      {"adapters", changed([](auto& r) { r.lora.layers = "*", r.moe.shared_hidden = 20; })},
      {"frozen",
       changed([](auto& r) { r.train.frozen = "embedding.*, *.router.*, blocks.1.*", r.moe.layers = "odd"; })},
      {"latent", changed([](auto& r) { r.moe.latent = 8; })},
      {"pyramid", changed([](auto& r) {
         r.moe.experts_by_layer = {6, 6, 12, 12};
         r.moe.shared_hidden = 16, r.moe.shared_combine = "residual";
       })},
      {"moe++", changed([](auto& r) {
         r.moe.constant_experts = 2, r.moe.copy_experts = 1, r.moe.zero_experts = 1;
         r.moe.gating_residual = true, r.moe.router = "mlp";
       })},
      {"translator", changed([](auto& r) {
         r.model.kind = "encoder_decoder", r.model.encoder_layers = 2, r.train.batch_tokens = 1000;
       })},
      {"classifier", changed([](auto& r) {
         r.model.kind = "classifier", r.moe.rows = "sequences", r.model.attention = "odd", r.moe.layers = "0,2,3";
       })},
      {"two kinds", changed([](auto& r) {
         r.moe.placement = "moe:0,3; small:1", r.moe.latent = 12;
         moetrain::MoeConfig small{.router = "sigmoid_bias", .top_k = 3, .hidden = 8, .shared_hidden = 20};
         small.experts = 6, small.name = "small", small.losses["entropy"] = 0.1;
         r.moe.named = {small};
       })},
      {"widths", changed([](auto& r) { r.moe.expert = "feed_forward:1,feed_forward(8):3,feed_forward(24):2"; })},
      {"images", changed([](auto& r) {
         r.model.kind = "diffusion_transformer", r.objective.kind = "rectified_flow", r.moe.shared_hidden = 12;
       })}};
  std::vector<LayoutCase> cases;
  for (const auto& [name, recipe] : recipes) {
    cases.push_back({name, recipe, {}, 1});
    cases.push_back({name, recipe, {.tensor = 3, .expert = 2, .expert_tensor = 1, .zero = 1}, 6});
    cases.push_back({name, recipe, {.tensor = 4, .expert_tensor = 2, .zero = 2}, 8});
    cases.push_back({name, recipe, {.expert = 3, .expert_tensor = 4}, 12});
    if (recipe.moe.experts_by_layer.empty()) {
      cases.push_back({name, recipe, {.tensor = 2, .expert = 4, .experts_by_rank = {1, 0, 3, 2}}, 8});
    }
  }
  return cases;
}

inline const char* const kSmallMachine = R"(
[machine]
name = "small"
memory_gib = 1
ranks_per_host = 4
[multiply]
float32_alpha = 1e-6
float32_beta = 1e-11
[inside]
all_to_all_alpha = 1e-5
all_to_all_beta = 1e-10
all_gather_alpha = 1e-5
all_gather_beta = 1e-10
reduce_scatter_alpha = 1e-5
reduce_scatter_beta = 1e-10
all_reduce_alpha = 1e-5
all_reduce_beta = 2e-10
[between]
all_to_all_alpha = 1e-4
all_to_all_beta = 1e-9
all_reduce_alpha = 1e-4
all_reduce_beta = 2e-9
)";
inline launch::Machine small_machine() { return launch::parse_machine(kSmallMachine, "small.toml"); }
