#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"

namespace moetrain {

at::Tensor select_in_groups(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  Graded biased = by_ratio(candidates.score_TE);
  at::Tensor& biased_TE = biased.value_TE;
  if (candidates.bias_E.defined()) {
    const at::Tensor bias_E = candidates.bias_E.to(biased_TE.scalar_type());
    biased_TE = biased_TE + bias_E;
    biased.magnitude_TE = biased.magnitude_TE + bias_E.abs();
  }
  const auto& [groups, top_groups, bias_rate] = config.own<SigmoidBiasConfig>();
  if (top_groups < groups) {
    const int64_t tokens = biased_TE.size(0), size = biased_TE.size(1) / groups;
    const std::array by_group{tokens, groups, size};
    const at::Tensor biased_TGS = biased_TE.view(by_group);
    // Only values are used of this topk, whose order of equal entries is open.
    const at::Tensor best_TG2 = std::get<0>(biased_TGS.topk(std::min<int64_t>(2, size), 2));
    const at::Tensor largest_TG = biased.magnitude_TE.view(by_group).amax(2);
    const at::Tensor open_TG = largest_k({best_TG2.sum(2), 2 * largest_TG, biased.bound}, top_groups);
    const at::Tensor closed_TG1 =
        at::ones({tokens, groups}, open_TG.options().dtype(at::kBool)).scatter(1, open_TG, false).unsqueeze(2);
    biased_TE = biased_TGS.masked_fill(closed_TG1, -std::numeric_limits<double>::infinity()).view_as(biased_TE);
  }
  return largest_k(biased, config.top_k);
}

void check_groups(const MoeConfig& config) {
  const auto& [groups, top_groups, bias_rate] = config.own<SigmoidBiasConfig>();
  const int64_t experts = expert_kinds(config).total();
  if (experts % groups != 0) {
    int64_t nearest = std::min(groups, experts);
    while (experts % nearest != 0) --nearest;
    parallel::user_error("moe.sigmoid_bias.groups (", groups, ") must divide the experts of a layer (", experts,
                         "); nearest legal: groups = ", nearest);
  }
  const int64_t size = experts / groups, needed = (config.top_k + size - 1) / size;
  if (top_groups > groups || top_groups < needed) {
    parallel::user_error("moe.sigmoid_bias.top_groups (", top_groups, ") of groups (", groups, "), each of ", size,
                         " experts, for moe.top_k (", config.top_k,
                         "): nearest legal: top_groups = ", std::clamp(top_groups, needed, groups));
  }
}

}  // namespace moetrain
