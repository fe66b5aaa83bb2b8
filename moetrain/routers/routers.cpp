#include "moetrain/routers/composed_router.h"
#include "moetrain/routers/scores/pre_gate.h"
#include "moetrain/routers/soft_router.h"
#include "moetrain/routers/task_table.h"

namespace moetrain {

// Routers that have a file of their own.
RouterPreset grouped_top_k_router();
RouterPreset top_p_router();
RouterPreset hecto_router();
RouterPreset moduleformer_router();

namespace {

using ScoresMaker = std::unique_ptr<Scores> (*)(const ScoresInput& input);

template <ScoresMaker scores, Selection selection, Squash squash = &softmax_squash>
std::shared_ptr<Router> make(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({.scores = scores(input), .squash = squash, .selection = selection, .chooses_all = true},
                        input);
}

std::shared_ptr<Router> make_biased(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  const double rate = config.own<SigmoidBiasConfig>().bias_rate;
  return compose_router({.scores = linear_scores(input),
                         .squash = sigmoid_squash,
                         .selection = select_in_groups,
                         .bias_rate = rate,
                         .chooses_all = true},
                        input);
}

std::shared_ptr<Router> make_choosing_experts(const ParameterSource& source, const MoeConfig& config,
                                              const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({.scores = linear_scores(input),
                         .squash = softmax_squash,
                         .selection = select_all,
                         .chooses_all = true,
                         .experts_choose = true},
                        input);
}

const std::vector<Gate> kLearnedGates{Gate::kRaw, Gate::kSum1, Gate::kSum1Kept, Gate::kTrue1, Gate::kStraightThrough};

}  // namespace

parallel::NameTable<RouterPreset> builtin_routers() {
  return {
      "router",
      {
          // Mixtral (Jiang et al. 2024) with sum1; Qwen2-MoE with raw.
          {"top_k", {make<linear_scores, select_largest>, {.gates = kLearnedGates, .biased_scores = true}}},
          // Switch Transformer (Fedus et al. 2022): top-1, raw gate, capacity by position; its jitter is 0.01.
          {"switch", {make<linear_scores, select_largest>, {.top_k = 1, .gates = {Gate::kRaw}, .biased_scores = true}}},
          // GShard (Lepikhin et al. 2021): the second choice drawn, weights summing to 1 after drops.
          {"gshard",
           {make<linear_scores, select_first_and_drawn>, {.top_k = 2, .gates = {Gate::kSum1Kept}, .draws = true}}},
          // Shazeer et al. 2017: softmax over the K largest noisy logits; balanced by `importance` and `load`.
          {"noisy_top_k",
           {make<noisy_scores, select_largest>, {.gates = {Gate::kSum1}, .learned_noise = true, .draws = true}}},
          // X-MoE (Chi et al. 2022).
          {"cosine",
           {make<cosine_scores, select_largest>, {.gates = kLearnedGates}, parallel::own_keys_of<CosineConfig>}},
          // MoE++ (Jin et al. 2024) with true1 and a gating residual; ModuleFormer (Shen et al. 2023) with raw.
          {"mlp", {make<mlp_scores, select_largest>, {.gates = kLearnedGates}, parallel::own_keys_of<MlpConfig>}},
          // The same with some experts drawn in training (Shen et al. 2023).
          {"moduleformer", moduleformer_router()},
          // DeepSeek-V3 (DeepSeek-AI 2024) with sum1: balanced by a bias of the selection.
          {"sigmoid_bias",
           {make_biased, {.gates = kLearnedGates}, parallel::own_keys_of<SigmoidBiasConfig>, check_sigmoid_bias}},
          // DeepSeek-V2 (DeepSeek-AI 2024) with raw.
          {"grouped_top_k", grouped_top_k_router()},
          // Expert choice (Zhou et al. 2022).
          {"expert_choice", {make_choosing_experts, {.gates = {Gate::kRaw}, .experts_choose = true}}},
          // S-BASE (Clark et al. 2022), as Megatron-Core has it.
          {"sinkhorn",
           {make<linear_scores, select_sinkhorn, sigmoid_of_one_squash>,
            {.gates = {Gate::kRaw}},
            parallel::own_keys_of<SinkhornConfig>}},
          // Dynamic routing (Huang et al. 2024), at most top_k.
          {"top_p", top_p_router()},
          // Hecto: hard, straight-through, tempered.
          {"hecto", hecto_router()},
          // Soft MoE (Puigcerver et al. 2024).
          {"soft",
           {soft_router,
            {.gates = {Gate::kRaw}, .capacity = false, .sequences = false, .causal_safe = false},
            parallel::own_keys_of<SoftConfig>}},
          // Hash Layers (Roller et al. 2021).
          {"hash",
           {make<hash_scores, select_largest>,
            {.top_k = 1, .gates = {Gate::kHard}, .learned = false, .reads_ids = true}}},
          // SkillNet (Liao et al. 2022).
          {"task_table", task_table_router()},
          // Read-ME (Cai et al. 2024): one decision for all layers.
          {"pre_gated", pre_gated_router()},
          // THOR (Zuo et al. 2022).
          {"thor",
           {make<uniform_scores, select_stochastic>,
            {.top_k = 1,
             .gates = {Gate::kHard},
             .learned = false,
             .capacity = false,
             .draws = true,
             .always_draws = true},
            parallel::own_keys_of<ThorConfig>}},
      }};
}

}  // namespace moetrain
