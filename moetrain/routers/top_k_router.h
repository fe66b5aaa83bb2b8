// defines: make_top_k_router
#pragma once
#include "moetrain/routers/router.h"

namespace moetrain {

/// Linear scores, softmax, the K largest (Shazeer et al. 2017; Jiang et al. 2024, Mixtral). logits = x W^T in at
/// least float32; ties go to the expert with the smaller number.
/// gate sum1: weights are the chosen probabilities over their sum (the softmax over the chosen logits);
/// gate raw: the chosen probabilities themselves. Parameter: weight [E, D].
std::shared_ptr<Router> make_top_k_router(const ParameterSource& source, const MoeConfig& config, int64_t width,
                                          double std);

}  // namespace moetrain
