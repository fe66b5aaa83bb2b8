#include <ATen/ATen.h>

#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/selections/selections.h"

namespace moetrain {
namespace {

/// log of the scale of each column of the balanced matrix, the same on all ranks: float64 [E].
at::Tensor column_scale(const at::Tensor& logits_TE, const SinkhornConfig& config, const BatchScope& scope) {
  const at::Tensor wide_TE = logits_TE.to(at::kDouble);
  const auto experts = static_cast<double>(wide_TE.size(1)), tokens = static_cast<double>(scope.global_tokens);
  // A row's own scale is free, so its largest entry may be 1.
  const at::Tensor powers_TE = wide_TE.numel() == 0 ? wide_TE : at::exp(wide_TE - wide_TE.amax(1, /*keepdim=*/true));
  at::Tensor scale_E = at::ones({wide_TE.size(1)}, wide_TE.options());
  for (int64_t i = 0; i < config.iterations; ++i) {
    const at::Tensor row_T = (tokens * at::mv(powers_TE, scale_E)).reciprocal();
    at::Tensor sum_E = at::mv(powers_TE.t(), row_T);
    scope.group.all_reduce(sum_E, parallel::ReduceOp::kSum).wait();
    // An expert that underflowed for every token would get an infinite scale.
    const at::Tensor next_E = (experts * sum_E.clamp_min(1e-200)).reciprocal();
    const double change = (next_E / scale_E - 1).abs().max().item<double>();
    scale_E = next_E;
    if (change <= config.tolerance) break;
  }
  return scale_E.log();
}

}  // namespace

at::Tensor select_sinkhorn(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context) {
  const at::Tensor& logits_TE = candidates.logits_TE;
  const at::ScalarType type = logits_TE.scalar_type();
  if (!context.scope.training) return largest_k(by_difference(logits_TE, type), config.top_k);
  // Within a row the balanced entries are in the order of their logarithms without the row's scale.
  const at::Tensor scale_E = column_scale(logits_TE, config.own<SinkhornConfig>(), context.scope);
  Graded balanced = by_difference(logits_TE.to(at::kDouble) + scale_E, type);
  balanced.magnitude_TE = (logits_TE.to(at::kDouble).abs() + scale_E.abs()).clamp_min(1);
  return largest_k(balanced, config.top_k);
}

}  // namespace moetrain
