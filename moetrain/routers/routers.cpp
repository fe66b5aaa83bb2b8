#include "moetrain/routers/composed_router.h"

namespace moetrain {
namespace {

using ScoresMaker = std::unique_ptr<Scores> (*)(const ScoresInput& input);

template <ScoresMaker scores, Selection selection>
std::shared_ptr<Router> make(const ParameterSource& source, const MoeConfig& config, int64_t width, double std) {
  return compose_router(scores({source, config, width, std}), selection, config);
}

const std::vector<std::string> kLearnedGates{"raw", "sum1", "sum1_kept"};

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
              // Hash Layers (Roller et al. 2021).
              {"hash", {make<hash_scores, select_largest>, {.top_k = 1, .gates = {"hard"}, .learned = false}}},
              // THOR (Zuo et al. 2022).
              {"thor",
               {make<uniform_scores, select_stochastic>,
                {.top_k = 1, .gates = {"hard"}, .learned = false, .capacity = false, .draws = true}}},
          }};
}

}  // namespace moetrain
