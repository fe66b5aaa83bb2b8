// defines: stick_breaking: attention weights in which the latest match wins
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

/// Stick-breaking attention (ModuleFormer, Shen et al. 2023, 2.2): with b = sigmoid(logits), a query's weight of key j
/// is b_j times (1 - b_j') of each key j' behind it, A_j = b_j prod_{j' > j} (1 - b_j'), which sum to at most 1 and
/// know which key is nearer without any positions. In log space, log A_j = log_sigmoid(l_j) + sum_{j' > j}
/// log_sigmoid(-l_j').
///
/// [..., L, K] -> [..., L, K], float32 or float64; -inf: a key that the query does not see, and that takes nothing from
/// others. Differentiable; keeps the logits and the weights.
at::Tensor stick_breaking(const at::Tensor& logits_LK);

}  // namespace moetrain
