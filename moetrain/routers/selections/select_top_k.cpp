#include "moetrain/routers/selections/select_top_k.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <vector>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

template <class Scalar>
void select_row(const Scalar* score, int64_t experts, std::vector<bool>& taken, int64_t* chosen, int64_t top_k) {
  taken.assign(static_cast<size_t>(experts), false);
  for (int64_t j = 0; j < top_k; ++j) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      if (!taken[static_cast<size_t>(e)] && (best < 0 || score[e] > score[best])) best = e;
    }
    taken[static_cast<size_t>(best)] = true;
    chosen[j] = best;
  }
}

}  // namespace

at::Tensor select_top_k(const at::Tensor& scores_TE, int64_t top_k) {
  parallel::check_internal(1 <= top_k && top_k <= scores_TE.size(1), "select_top_k: ", top_k, " of ",
                           scores_TE.size(1));
  // LibTorch's topk leaves the order of equal entries open; a stable sort does not.
  if (!scores_TE.device().is_cpu()) {
    return std::get<1>(at::sort(scores_TE, /*stable=*/true, /*dim=*/1, /*descending=*/true)).narrow(1, 0, top_k);
  }
  const at::Tensor scores = scores_TE.contiguous();
  const int64_t tokens = scores.size(0), experts = scores.size(1);
  at::Tensor chosen_TK = at::empty({tokens, top_k}, at::kLong);
  int64_t* chosen = chosen_TK.mutable_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "select_top_k", [&] {
    const scalar_t* score = scores.const_data_ptr<scalar_t>();
    std::vector<bool> taken;
    for (int64_t t = 0; t < tokens; ++t) select_row(score + t * experts, experts, taken, chosen + t * top_k, top_k);
  });
  return chosen_TK;
}

}  // namespace moetrain
