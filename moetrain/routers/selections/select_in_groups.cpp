#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"

namespace moetrain {

Graded of_open_groups(const Graded& graded, const GroupLimit& limit) {
  const auto& [groups, top_groups, judged_by] = limit;
  if (top_groups >= groups) return graded;
  const int64_t tokens = graded.value_TE.size(0), size = graded.value_TE.size(1) / groups;
  const int64_t judges = std::min(judged_by, size);
  const std::array by_group{tokens, groups, size};
  const at::Tensor value_TGS = graded.value_TE.view(by_group);
  // Only values are used of this topk, whose order of equal entries is open.
  const at::Tensor best_TGJ = std::get<0>(value_TGS.topk(judges, 2));
  const at::Tensor largest_TG = graded.magnitude_TE.view(by_group).amax(2);
  const at::Tensor open_TG =
      largest_k({best_TGJ.sum(2), static_cast<double>(judged_by) * largest_TG, graded.bound}, top_groups);
  const at::Tensor closed_TG1 =
      at::ones({tokens, groups}, open_TG.options().dtype(at::kBool)).scatter(1, open_TG, false).unsqueeze(2);
  Graded open = graded;
  open.value_TE = value_TGS.masked_fill(closed_TG1, -std::numeric_limits<double>::infinity()).view_as(graded.value_TE);
  return open;
}

at::Tensor select_in_groups(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  Graded biased = by_ratio(candidates.score_TE);
  if (candidates.bias_E.defined()) {
    const at::Tensor bias_E = candidates.bias_E.to(biased.value_TE.scalar_type());
    biased.value_TE = biased.value_TE + bias_E;
    biased.magnitude_TE = biased.magnitude_TE + bias_E.abs();
  }
  const auto& [groups, top_groups, bias_rate] = config.own<SigmoidBiasConfig>();
  return largest_k(of_open_groups(biased, {groups, top_groups, /*judged_by=*/2}), config.top_k);
}

void check_groups(const MoeConfig& config, const std::string& table, const GroupLimit& limit) {
  const auto& [groups, top_groups, judged_by] = limit;
  const int64_t experts = expert_kinds(config).total();
  if (experts % groups != 0) {
    int64_t nearest = std::min(groups, experts);
    while (experts % nearest != 0) --nearest;
    parallel::user_error(table, ".groups (", groups, ") must divide the experts of a layer (", experts,
                         "); nearest legal: groups = ", nearest);
  }
  const int64_t size = experts / groups, needed = (config.top_k + size - 1) / size;
  if (top_groups > groups || top_groups < needed) {
    parallel::user_error(table, ".top_groups (", top_groups, ") of groups (", groups, "), each of ", size,
                         " experts, for moe.top_k (", config.top_k,
                         "): nearest legal: top_groups = ", std::clamp(top_groups, needed, groups));
  }
}

void check_sigmoid_bias(const MoeConfig& config) {
  const auto& [groups, top_groups, bias_rate] = config.own<SigmoidBiasConfig>();
  check_groups(config, "moe.sigmoid_bias", {groups, top_groups, 2});
}

}  // namespace moetrain
