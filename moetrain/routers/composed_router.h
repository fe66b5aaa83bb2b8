// defines: compose_router, RouterParts: scores x squash x selection x gate x capacity rule
#pragma once
#include <optional>

#include "moetrain/routers/router.h"
#include "moetrain/routers/scores/scores.h"
#include "moetrain/routers/selections/selections.h"
#include "moetrain/routers/squash.h"

namespace moetrain {

struct RouterParts {
  std::unique_ptr<Scores> scores;
  Squash squash = &softmax_squash;
  Selection selection = nullptr;
  /// A buffer "bias" [E], at least float32, zero at the start, which the selection adds to the scores; after an update
  /// b_e += bias_rate * sign(mean load - load_e) (Wang et al. 2024, auxiliary-loss-free balancing; DeepSeek-V3).
  /// Without a rate there is no bias.
  std::optional<double> bias_rate = std::nullopt;
  /// It chooses K experts for every token, none fewer: then experts on a GPU need not look for tokens without.
  bool chooses_all = false;
  /// In training experts choose: what is reported as dropped are the tokens that none took.
  bool experts_choose = false;
};

/// Scores in at least float32 (float64 where the model is) of tokens that, in training, are multiplied by
/// U[1 - jitter, 1 + jitter] (Fedus et al. 2022), plus the gating residual; squash; selection; capacity rule; gate.
/// Gate and capacity rule are the config's. The scores' parameters are the router's.
/// Gating residual (MoE++, Jin et al. 2024): logits = scores + W Z, with Z the logits of the MoE layer before, its own
/// residual included. Parameter: residual_weight [E, E before], of standard deviation 0.02 at the start (inferred: the
/// paper's is not public); the first MoE layer has none.
/// Task bias: logits += the row of the sequence's task. A linear router on [x; u_task], with u an embedding of the task
/// (M3ViT's task-conditioned, Liang et al. 2022), comes to this: its product with u is a number of task and expert.
/// Parameter: task_bias [tasks, E].
std::shared_ptr<Router> compose_router(RouterParts parts, const ScoresInput& input);

}  // namespace moetrain
