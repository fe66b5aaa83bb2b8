// defines: HiddenUnits, GatheredFeedForward: feed-forward experts whose rows are all here, gathered turn by turn
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "moetrain/fused/activations.h"
#include "parallel/dispatch/expert_compute.h"

namespace moetrain {

// R rows of all experts, S of a turn, T tokens, D width, F hidden units

/// Hidden units of what a row's first products gave: gate and up, or up alone.
struct HiddenUnits {
  void (*value)(at::Tensor& hidden_RF, const parallel::RowTensors& made);
  /// Gradients take the place of what was made.
  void (*again)(parallel::RowTensors& made, const WeightedHidden& all);
};

/// weights: [E, D, F] of each of the first products, down [E, F, D]
class GatheredFeedForward : public parallel::GatheringCompute {
 public:
  explicit GatheredFeedForward(const HiddenUnits& units) : units_(units) {}

  std::vector<int64_t> gathered_widths(const Weights& weights) const override;  // what the first products gave
  at::Tensor forward_gathered(const parallel::TokenRows& rows, const Weights& weights,
                              const parallel::RowTensors& saved) const override;
  at::Tensor backward_gathered(const parallel::TokenRows& rows, const parallel::RowTensors& saved,
                               const parallel::WeightedGradients& above, const Weights& weights,
                               const Weights& gradients) const override;

 private:
  HiddenUnits units_;
};

}  // namespace moetrain
