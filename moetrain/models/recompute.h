// defines: PartOutput, BlockPart, recomputed: activations that backward makes again
#pragma once
#include <functional>
#include <vector>

#include "moetrain/config/recompute.h"
#include "moetrain/moe/routed_layer.h"

namespace moetrain {

/// Of a block or a part of one, with the decisions of its layers of experts, in the order in which it made them.
struct PartOutput {
  at::Tensor out_TD;
  std::vector<RoutingDecision> decisions;
};

/// It as a function of the tensors that gradient flows to. `injected`: of each decision; see RoutingContext. Empty:
/// none.
using BlockPart =
    std::function<PartOutput(const std::vector<at::Tensor>& inputs, const std::vector<RoutingChoices>& injected)>;

/// part(inputs), of which `parameters` are all that it uses; its activations are not kept (parallel::recompute).
/// Backward runs it again with the choices that were made here: it selects nothing, so that a near-tie which rounding
/// decides otherwise can neither change the gradient nor leave ranks waiting for each other's rows.
PartOutput recomputed(const BlockPart& part, const std::vector<at::Tensor>& inputs,
                      const std::vector<at::Tensor>& parameters);

}  // namespace moetrain
