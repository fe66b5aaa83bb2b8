#include "moetrain/routers/gates.h"

#include <ATen/ATen.h>

namespace moetrain {
namespace {

/// Weights that sum to 1 over the choices that count; 0 elsewhere.
at::Tensor sum1_over(const at::Tensor& score_TK, const at::Tensor& counts_TK) {
  const at::Tensor left_TK = score_TK.masked_fill(counts_TK.logical_not(), 0.0);
  const at::Tensor sum_T1 = left_TK.sum(1, /*keepdim=*/true);
  return left_TK / sum_T1.masked_fill(sum_T1 == 0, 1.0);  // a token without any such choice
}

}  // namespace

bool asks_for_masks(Gate gate) { return gate == Gate::kSum1Kept || gate == Gate::kTrue1 || gate == Gate::kHard; }

at::Tensor gate_weights(Gate gate, const at::Tensor& score_TK, const GateMasks& masks) {
  switch (gate) {
    case Gate::kRaw:
      return score_TK;
    case Gate::kSum1:
      return score_TK / score_TK.sum(1, /*keepdim=*/true);
    case Gate::kSum1Kept:
      return sum1_over(score_TK, masks.kept_TK);
    case Gate::kTrue1:
      return sum1_over(score_TK, masks.true_TK);
    case Gate::kStraightThrough:
      return score_TK - score_TK.detach() + 1.0 / static_cast<double>(score_TK.size(1));
    case Gate::kHard:
      break;
  }
  // In float64, so that the mean of a given number of experts is the same whatever K is.
  const at::Tensor choices_T1 = masks.kept_TK.sum(1, /*keepdim=*/true).clamp_min(1).to(at::kDouble);
  return choices_T1.reciprocal()
      .expand_as(score_TK)
      .masked_fill(masks.kept_TK.logical_not(), 0)
      .to(score_TK.options().requires_grad(false));
}

}  // namespace moetrain
