#include "moetrain/experts/shared_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace moetrain {

using parallel::Assignment;

SharedWeights::SharedWeights(const std::vector<int64_t>& set_E, at::Device device)
    : sets_(*std::ranges::max_element(set_E) + 1) {
  std::vector<int64_t> set_E1 = set_E;
  set_E1.push_back(Assignment::kDropped);
  set_E1_ = at::tensor(set_E1, at::kLong).to(device);
}

Assignment SharedWeights::of_sets(const Assignment& experts) const {
  const int64_t last = set_E1_.size(0) - 1, choices = experts.expert_TK.size(1);
  const at::Tensor& expert_TK = experts.expert_TK;
  const at::Tensor set_TK =
      set_E1_.index_select(0, at::where(expert_TK < 0, last, expert_TK).flatten()).view_as(expert_TK);
  if (choices == 1) return {set_TK, experts.weight_TK, sets_};
  std::vector<at::Tensor> set = set_TK.unbind(1), weight = experts.weight_TK.unbind(1);
  for (size_t later = 1; later < set.size(); ++later) {
    // Joined to the first choice of the set: that one is still there, and no other is equal.
    for (size_t first = 0; first < later; ++first) {
      const at::Tensor same_T = at::logical_and(set[first] == set[later], set[later] >= 0);
      weight[first] = weight[first] + at::where(same_T, weight[later], 0);
      set[later] = at::where(same_T, Assignment::kDropped, set[later]);
    }
  }
  return {at::stack(set, 1), at::stack(weight, 1), sets_};
}

}  // namespace moetrain
