#include "moetrain/routers/composed_router.h"
#include "moetrain/routers/soft_router.h"

namespace moetrain {
namespace {

using ScoresMaker = std::unique_ptr<Scores> (*)(const ScoresInput& input);

struct Traits {
  bool biased = false;
  bool experts_choose = false;
};

template <ScoresMaker scores, Selection selection, Squash squash = &softmax_squash, Traits traits = {}>
std::shared_ptr<Router> make(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({scores(input), squash, selection, traits.biased, traits.experts_choose}, input);
}

const std::vector<std::string> kLearnedGates{"raw", "sum1", "sum1_kept", "true1"};

}  // namespace

parallel::NameTable<RouterPreset> builtin_routers() {
  return {"router",
          {
              // Mixtral (Jiang et al. 2024) with sum1; Qwen2-MoE with raw.
              {"top_k", {make<linear_scores, select_largest>, {.gates = kLearnedGates}}},
              // Switch Transformer (Fedus et al. 2022): top-1, raw gate, capacity by position; its jitter is 0.01.
              {"switch", {make<linear_scores, select_largest>, {.top_k = 1, .gates = {"raw"}}}},
              // GShard (Lepikhin et al. 2021): the second choice drawn, weights summing to 1 after drops.
              {"gshard",
               {make<linear_scores, select_first_and_drawn>, {.top_k = 2, .gates = {"sum1_kept"}, .draws = true}}},
              // Shazeer et al. 2017: softmax over the K largest noisy logits; balanced by `importance` and `load`.
              {"noisy_top_k",
               {make<noisy_scores, select_largest>, {.gates = {"sum1"}, .learned_noise = true, .draws = true}}},
              // X-MoE (Chi et al. 2022).
              {"cosine", {make<cosine_scores, select_largest>, {.gates = kLearnedGates}}},
              // MoE++ (Jin et al. 2024) with true1 and a gating residual; ModuleFormer (Shen et al. 2023) with raw.
              {"mlp", {make<mlp_scores, select_largest>, {.gates = kLearnedGates}}},
              // DeepSeek-V3 (DeepSeek-AI 2024) with sum1: balanced by a bias of the selection.
              {"sigmoid_bias",
               {make<linear_scores, select_in_groups, sigmoid_squash, Traits{.biased = true}>,
                {.gates = kLearnedGates, .groups = true}}},
              // Expert choice (Zhou et al. 2022).
              {"expert_choice",
               {make<linear_scores, select_all, softmax_squash, Traits{.experts_choose = true}>,
                {.gates = {"raw"}, .experts_choose = true}}},
              // S-BASE (Clark et al. 2022), as Megatron-Core has it.
              {"sinkhorn", {make<linear_scores, select_sinkhorn, sigmoid_of_one_squash>, {.gates = {"raw"}}}},
              // Soft MoE (Puigcerver et al. 2024).
              {"soft", {soft_router, {.gates = {"raw"}, .capacity = false, .causal_safe = false}}},
              // Hash Layers (Roller et al. 2021).
              {"hash", {make<hash_scores, select_largest>, {.top_k = 1, .gates = {"hard"}, .learned = false}}},
              // THOR (Zuo et al. 2022).
              {"thor",
               {make<uniform_scores, select_stochastic>,
                {.top_k = 1, .gates = {"hard"}, .learned = false, .capacity = false, .draws = true}}},
          }};
}

}  // namespace moetrain
