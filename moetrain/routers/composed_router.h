// defines: compose_router: scores x selection x gate x capacity rule
#pragma once
#include "moetrain/routers/router.h"
#include "moetrain/routers/scores/scores.h"
#include "moetrain/routers/selections/selections.h"

namespace moetrain {

/// Scores in at least float32 (float64 where the model is) of tokens that, in training, are multiplied by
/// U[1 - jitter, 1 + jitter] (Fedus et al. 2022); softmax; selection; capacity rule; gate. Gate and capacity rule are
/// the config's. The scores' parameters are the router's.
std::shared_ptr<Router> compose_router(std::unique_ptr<Scores> scores, Selection selection, const MoeConfig& config);

}  // namespace moetrain
