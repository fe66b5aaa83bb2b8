// defines: gate_weights, GateMasks, asks_for_masks
#pragma once
#include <ATen/core/Tensor.h>

#include "moetrain/config/moe_config.h"

namespace moetrain {

/// Of each choice, bool.
struct GateMasks {
  at::Tensor kept_TK;  // false where the capacity rule dropped it, or a token takes fewer than K
  at::Tensor true_TK;  // false for zero and null experts
};

/// Whether such a gate looks at them.
bool asks_for_masks(Gate gate);

/// A dropped choice's weight has no effect. A token without any choice that counts has weights 0.
at::Tensor gate_weights(Gate gate, const at::Tensor& score_TK, const GateMasks& masks);

}  // namespace moetrain
