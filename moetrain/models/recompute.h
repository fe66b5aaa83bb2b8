// defines: BlockPart, recomputed: activations that backward makes again
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "moetrain/config/recompute.h"
#include "moetrain/moe/moe_layer.h"

namespace moetrain {

/// A block or a half of one as a function of the tensors that gradient flows to. `injected`: see RoutingContext.
using BlockPart = std::function<MixedTokens(const std::vector<at::Tensor>& inputs, const RoutingChoices* injected)>;

/// part(inputs), of which `parameters` are all that it uses; its activations are not kept (parallel::recompute).
/// Backward runs it again with the choices that were made here: it selects nothing, so that a near-tie which rounding
/// decides otherwise can neither change the gradient nor leave ranks waiting for each other's rows.
MixedTokens recomputed(const BlockPart& part, const std::vector<at::Tensor>& inputs,
                       const std::vector<at::Tensor>& parameters);

}  // namespace moetrain
