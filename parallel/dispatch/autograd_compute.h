// defines: AutogradCompute: an expert kind whose gradients nobody wrote
#pragma once
#include <functional>

#include "parallel/dispatch/expert_compute.h"

namespace parallel {

/// An expert kind given by its forward alone, for kinds whose backward nobody has written (those of FfnExperts have
/// theirs); autograd finds the gradients. Keeps nothing but the rows: backward runs forward twice more, once for the
/// gradient of the rows (a chunk at a time) and once for that of the weights, so that a step multiplies nearly twice
/// as much (16/9 for SwiGLU).
class AutogradCompute : public ExpertCompute {
 public:
  /// One expert: [N, D] and its slice of each weight -> [N, D]. Differentiable in both; row n of the output depends on
  /// row n alone, since a chunk may hold any range of the expert's rows. Where hidden units are shared out over ranks
  /// it computes this rank's summand. Draws no random numbers. InternalError for an output of another shape or dtype.
  using Expert = std::function<at::Tensor(const at::Tensor& rows_ND, const Weights& weights)>;
  explicit AutogradCompute(Expert expert) : expert_(std::move(expert)) {}

  std::vector<int64_t> saved_widths(int64_t, const Weights&) const override { return {}; }
  std::vector<int64_t> kept_widths(int64_t, const Weights&) const override { return {}; }
  at::Tensor forward(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights,
                     const RowTensors& saved) const override;
  at::Tensor backward_rows(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_out_RD,
                           const Counts& rows_per_expert, const Weights& weights,
                           const RowTensors& kept) const override;
  void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_out_RD,
                        const RowTensors& kept, const Counts& rows_per_expert, const Weights& weights,
                        const Weights& gradients) const override;

 private:
  at::Tensor run(const at::Tensor& rows_ND, const Weights& weights) const;

  Expert expert_;
};

}  // namespace parallel
