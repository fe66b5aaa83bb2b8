// defines: SharedWeights: routed experts of which several compute with the same weights
#pragma once
#include <vector>

#include "parallel/dispatch/assignment.h"

namespace moetrain {

// T tokens, K choices per token, E routed experts of the router, W sets of weights

/// The router chooses among E experts, rows travel to W sets of weights (MoeConfig::expert_weights), as merging experts
/// leaves them (M-SMoE, Li et al. 2023). A token whose choices share a set sends it one row, weighted by their sum.
class SharedWeights {
 public:
  /// set_E: of each expert the number of its set (weight_sets). The experts compute on that device.
  SharedWeights(const std::vector<int64_t>& set_E, at::Device device);

  /// Choices of experts -> of sets, in the order of choice; the gradient of a sum reaches each of its choices.
  parallel::Assignment of_sets(const parallel::Assignment& experts) const;

 private:
  at::Tensor set_E1_;  // int64; behind the last expert kDropped, which is its own
  int64_t sets_;
};

}  // namespace moetrain
