#include <ATen/ATen.h>

#include <limits>

#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/draws.h"
#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"

namespace moetrain {

at::Tensor select_largest(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  return largest_k(by_ratio(candidates.probabilities_TE), config.top_k);
}

at::Tensor select_all(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context) {
  const at::Tensor& probabilities_TE = candidates.probabilities_TE;
  if (!context.scope.training) return largest_k(by_ratio(probabilities_TE), config.top_k);
  const at::TensorOptions options = at::TensorOptions(at::kLong).device(probabilities_TE.device());
  return at::arange(probabilities_TE.size(1), options).expand(probabilities_TE.sizes()).contiguous();
}

at::Tensor select_first_and_drawn(const Candidates& candidates, const MoeConfig& config,
                                  const RoutingContext& context) {
  parallel::check_internal(config.top_k == 2, "select_first_and_drawn: top_k is ", config.top_k);
  const BatchScope& scope = context.scope;
  if (!scope.training) return largest_k(by_ratio(candidates.probabilities_TE), 2);
  const at::Tensor first_T1 = largest_k(by_ratio(candidates.probabilities_TE), 1);
  const at::Tensor& logits_TE = candidates.logits_TE;
  const parallel::RandomStream stream = scope.draws.stream("second choice", context.layer);
  const at::Tensor uniform_TE = uniform_draws(stream, scope.first_token * logits_TE.size(1), logits_TE.sizes(),
                                              logits_TE.options().dtype(at::kDouble));
  const at::Tensor perturbed_TE = logits_TE.to(at::kDouble) - uniform_TE.log().neg().log();
  const at::Tensor others_TE = perturbed_TE.scatter(1, first_T1, -std::numeric_limits<double>::infinity());
  const at::Tensor second_T1 = largest_k(by_difference(others_TE, logits_TE.scalar_type()), 1);
  return at::cat({first_T1, second_T1}, 1);
}

}  // namespace moetrain
