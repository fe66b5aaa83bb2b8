// defines: Case, cases, tuned_cases: the layouts and models that plan_truth walks
#pragma once
#include <string>
#include <vector>

#include "tests/launch/training/training_support.h"

struct Case {
  const char* name;
  launch::Recipe recipe;
  parallel::MeshConfig mesh;
};

/// Activations and weights of like size, a dense block and experts; every count divides by 8.
inline launch::Recipe truth_recipe(const std::string& corpus) {
  launch::Recipe recipe = tiny_recipe(corpus);
  recipe.run.precision = "float32";
  recipe.data.sequence_length = 64;
  recipe.model.layers = 4;
  recipe.model.width = 96;
  recipe.model.heads = recipe.model.kv_heads = 8;
  recipe.model.ffn_hidden = 256;
  recipe.moe.layers = "odd";
  recipe.moe.experts = 16;
  recipe.moe.hidden = 96;
  recipe.train.global_batch = 32;
  recipe.train.micro_batches = 2;
  return recipe;
}

/// Experts in the place of attentions, by that placement.
inline void use_modules(launch::Recipe& recipe, const char* placement) {
  moetrain::MoeConfig heads = recipe.moe;
  heads.name = "heads", heads.expert = "heads", heads.hidden = 64, heads.router = "mlp", heads.top_k = 3;
  heads.layers = "all", recipe.moe.layers = "all", recipe.moe.placement = placement, recipe.moe.named = {heads};
}

/// Bytes alone are held against these: how much less backward keeps is not modelled.
inline std::vector<Case> tuned_cases(const std::string& corpus, int64_t ranks) {
  const launch::Recipe base = truth_recipe(corpus);
  launch::Recipe adapters = base, late = base, frozen = base, queries = base;
  use_modules(queries, "heads.attention:all");
  queries.train.frozen = "embedding.*, blocks.0.*, blocks.1.attention_norm.*, blocks.1.attention.router.*";
  adapters.lora.layers = "*.query, *.experts.*, *.feed_forward.*";
  late.lora.layers = "blocks.2.*.output, blocks.3.*.down", late.train.recompute = "block";
  frozen.train.frozen = "embedding.*, blocks.0.*, blocks.1.attention*";
  if (ranks == 2)
    return {{"adapters", adapters, {.tensor = 2, .zero = 1}},
            {"frozen", frozen, {.tensor = 2, .expert_tensor = 2}},
            {"queries", queries, {.tensor = 2, .expert = 2}}};
  if (ranks == 4) {
    return {{"adapters", adapters, {.tensor = 2, .expert_tensor = 2}},
            {"adapters", adapters, {.expert = 2, .expert_tensor = 2}},
            {"late", late, {.tensor = 4, .expert_tensor = 2, .zero = 1}},
            {"frozen", frozen, {.tensor = 2, .zero = 2}}};
  }
  return {};
}

inline std::vector<Case> cases(const std::string& corpus, int64_t ranks) {
  const launch::Recipe base = truth_recipe(corpus);
  const auto changed = [&](auto change) {
    launch::Recipe recipe = base;
    change(recipe);
    return recipe;
  };
  const auto experts = changed([](auto& r) { r.moe.layers = "all"; });
  const auto grouped = changed([](auto& r) { r.model.kv_heads = 2, r.moe.shared_hidden = 64; });
  const auto gelu =
      changed([](auto& r) { r.model.activation = "gelu", r.model.norm = "layer", r.model.dropout = 0.1; });
  const auto low = changed([](auto& r) { r.run.precision = "bf16"; });
  const auto once = changed([](auto& r) { r.train.micro_batches = 1; });
  const auto low_once = changed([](auto& r) { r.train.micro_batches = 1, r.run.precision = "bf16"; });
  const auto untied_once =
      changed([](auto& r) { r.train.micro_batches = 1, r.model.tie_embeddings = false, r.moe.layers = "all"; });
  const auto untied = changed([](auto& r) { r.model.tie_embeddings = false, r.moe.layers = "none"; });
  const auto free_experts = changed([](auto& r) {
    r.moe.constant_experts = 2, r.moe.copy_experts = r.moe.zero_experts = 1, r.moe.shared_hidden = 48;
  });
  const auto latent = changed([](auto& r) {
    r.moe.latent = 32, r.moe.layers = "all", r.moe.shared_hidden = 64, r.moe.shared_combine = "residual";
  });
  const auto two_pass =
      changed([](auto& r) { r.objective.kind = "two_pass", r.model.dropout = 0.1, r.model.activation = "relu"; });
  const auto experts_again = changed([](auto& r) { r.train.recompute = "moe", r.moe.layers = "all"; });
  const auto blocks_again = changed([](auto& r) { r.train.recompute = "block"; });
  const auto muon = changed([](auto& r) { r.optimizer.kind = "muon", r.moe.shared_hidden = 64; });
  const auto two_kinds = changed([](auto& r) {
    r.moe.layers = "all", r.moe.placement = "moe:1; small:3";
    moetrain::MoeConfig small = r.moe;
    small.name = "small", small.placement = "", small.router = "sigmoid_bias", small.top_k = 3, small.hidden = 64;
    small.shared_hidden = 64, small.losses["entropy"] = 0.01;
    r.moe.named = {small};
  });
  const auto modules = changed([](auto& r) { use_modules(r, "heads.attention:all"); });
  const auto modules_again = changed([](auto& r) {
    use_modules(r, "heads.attention:all"), r.train.recompute = "moe", r.model.attending.positions = "relative";
  });
  const auto sticks = changed([](auto& r) {
    use_modules(r, "moe:odd; heads.attention:0,3");
    r.model.attending.weights = "stick_breaking", r.model.attending.positions = "none";
  });
  const auto widths = changed([](auto& r) { r.moe.expert = "feed_forward:8,feed_forward(32):8"; });
  switch (ranks) {
    case 1:
      return {{"mixture", base, {}},
              {"all experts", experts, {}},
              {"grouped", grouped, {}},
              {"gelu", gelu, {}},
              {"bf16", low, {}},
              {"dense", untied, {}},
              {"free", free_experts, {}},
              {"latent", latent, {}},
              {"two passes", two_pass, {}},
              {"moe again", experts_again, {}},
              {"blocks again", blocks_again, {}},
              {"modules", modules, {}},
              {"modules again", modules_again, {}},
              {"sticks", sticks, {}},
              {"muon", muon, {}},
              {"once", once, {}},
              {"bf16 once", low_once, {}},
              {"untied once", untied_once, {}}};
    case 2:
      return {{"mixture", base, {.expert = 2}},
              {"all experts", experts, {.expert_tensor = 2}},
              {"grouped", grouped, {.tensor = 2}},
              {"bf16", low, {.expert = 2, .zero = 1}},
              {"two passes", two_pass, {.tensor = 2, .zero = 1}},
              {"blocks again", blocks_again, {.tensor = 2, .expert = 2}},
              {"mixture", base, {.zero = 2}},
              {"two kinds", two_kinds, {.tensor = 2, .expert = 2}},
              {"widths", widths, {.expert = 2}},
              {"modules", modules, {.tensor = 2, .expert = 2}},
              {"modules", modules, {.expert_tensor = 2, .zero = 1}},
              {"modules again", modules_again, {.tensor = 2, .expert = 2}},
              {"widths", widths, {.expert_tensor = 2, .zero = 1}},
              {"muon", muon, {.expert_tensor = 2, .zero = 1}},
              {"once", once, {.zero = 1}},
              {"untied once", untied_once, {.expert = 2}},
              {"once", once, {.tensor = 2, .zero = 2}}};
    case 4:
      return {{"all experts", experts, {.expert = 2, .expert_tensor = 2}},
              {"mixture", base, {.tensor = 2, .expert = 4, .zero = 1}},
              {"gelu", gelu, {.tensor = 4, .expert = 2}},
              {"moe again", experts_again, {.expert = 2, .expert_tensor = 2}},
              {"modules", modules, {.tensor = 2, .expert = 2, .expert_tensor = 2}},
              {"bf16", low, {.tensor = 2, .expert_tensor = 2}},
              {"muon", muon, {.tensor = 2, .expert = 2, .zero = 2}},
              {"muon", muon, {.tensor = 2, .expert_tensor = 2}}};
    default:
      return {{"mixture", base, {.tensor = 2, .expert = 4, .expert_tensor = 2}},
              {"all experts", experts, {.expert = 8, .zero = 1}}};
  }
}
