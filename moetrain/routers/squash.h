// defines: Squash, Squashed and the squashes: from logits to what losses read and what gates are made of
#pragma once
#include "moetrain/config/moe_config.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

struct Squashed {
  at::Tensor probabilities_TE;  // rows sum to 1
  at::Tensor score_TE;          // of the same order in each row; a gate is made of the chosen ones
};

/// The second of a router's choices, after the scores.
using Squash = Squashed (*)(const at::Tensor& logits_TE, const MoeConfig& config);

/// Both are the softmax.
Squashed softmax_squash(const at::Tensor& logits_TE, const MoeConfig& config);

/// score = sigmoid(logits), and probabilities = score / sum of the row (DeepSeek-V3, eq. 15 and 19: the latter are
/// what its balance loss reads).
Squashed sigmoid_squash(const at::Tensor& logits_TE, const MoeConfig& config);

/// score = sigmoid(logits) where top_k is 1, else the softmax; probabilities are the softmax. Megatron-Core's gates
/// after Sinkhorn, from memory.
Squashed sigmoid_of_one_squash(const at::Tensor& logits_TE, const MoeConfig& config);

}  // namespace moetrain
