#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "moetrain/routers/selections/select_top_k.h"
#include "moetrain/routers/selections/selections.h"

namespace moetrain {

at::Tensor select_in_groups(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  at::Tensor biased_TE = candidates.score_TE;
  if (candidates.bias_E.defined()) biased_TE = biased_TE + candidates.bias_E.to(biased_TE.scalar_type());
  if (config.top_groups < config.groups) {
    const int64_t tokens = biased_TE.size(0), size = biased_TE.size(1) / config.groups;
    const at::Tensor biased_TGS = biased_TE.view({tokens, config.groups, size});
    // Only values are used of this topk, whose order of equal entries is open.
    const at::Tensor best_TG2 = std::get<0>(biased_TGS.topk(std::min<int64_t>(2, size), 2));
    const at::Tensor open_TG = select_top_k(best_TG2.sum(2), config.top_groups);
    const at::Tensor closed_TG1 =
        at::ones({tokens, config.groups}, open_TG.options().dtype(at::kBool)).scatter(1, open_TG, false).unsqueeze(2);
    biased_TE = biased_TGS.masked_fill(closed_TG1, -std::numeric_limits<double>::infinity()).view_as(biased_TE);
  }
  return select_top_k(biased_TE, config.top_k);
}

}  // namespace moetrain
