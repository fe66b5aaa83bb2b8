// Of Hecto: no expert is left out.
#include <ATen/ATen.h>

#include "moetrain/losses/statistic_share.h"

namespace moetrain {
namespace {

/// Sum over e of p_e ln(E p_e).
at::Tensor apart_from_even(const at::Tensor& mean_E) {
  return (mean_E * (mean_E * static_cast<double>(mean_E.numel())).clamp_min(1e-30).log()).sum();
}

/// The divergence of the mean probabilities of all tokens from even ones [nats]: 0 where the experts are equally
/// wanted, ln E where all want one. Unlike load_balance it counts no choices, and unlike mutual_information asks no
/// token to be sure. Collective.
at::Tensor diversity_share(const RoutingDecision& decision, const MoeConfig&, const RoutingContext& context) {
  return share_of_statistic(local_mean(decision, context.scope), context.scope.group, &apart_from_even);
}

}  // namespace

RouterLoss diversity_loss() {
  return {.share = diversity_share,
          .sentence = "weight of the mean probabilities' divergence from even ones (Hecto: 0.1); 0: off",
          .summed_bytes = bytes_of_each_expert};
}

}  // namespace moetrain
