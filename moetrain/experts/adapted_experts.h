// defines: AdaptedExperts: experts of any kind, some of whose matrices have an adapter
#pragma once
#include <memory>
#include <vector>

#include "parallel/dispatch/expert_compute.h"

namespace moetrain {

/// Computes as its kind does, with W + scale A B in place of W: a layer's matrices are added up for each pass over
/// them, and of their gradient G, which the kind gives, A's is scale G B^T and B's scale A^T G. Its weights are the
/// kind's and, behind them, A [E, in, rank] and B [E, rank, out] of each adapted one.
class AdaptedExperts : public parallel::ExpertCompute, public parallel::GatheringCompute {
 public:
  using Weights = parallel::ExpertCompute::Weights;

  /// weights: how many the kind has; adapted: those with an adapter, by number.
  AdaptedExperts(std::shared_ptr<const ExpertCompute> kind, size_t weights, std::vector<size_t> adapted, double scale)
      : kind_(std::move(kind)), weights_(weights), adapted_(std::move(adapted)), scale_(scale) {}

  std::vector<int64_t> saved_widths(int64_t row_width, const Weights& weights) const override {
    return kind_->saved_widths(row_width, of_kind(weights));
  }
  std::vector<int64_t> kept_widths(int64_t row_width, const Weights& weights) const override {
    return kind_->kept_widths(row_width, of_kind(weights));
  }
  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const parallel::RowTensors& saved) const override;
  at::Tensor backward_rows(const at::Tensor& rows_RD, const parallel::RowTensors& saved, const at::Tensor& grad_RD,
                           const Counts& counts, const Weights& weights,
                           const parallel::RowTensors& kept) const override;
  void backward_weights(const at::Tensor& rows_RD, const parallel::RowTensors& saved, const at::Tensor& grad_RD,
                        const parallel::RowTensors& kept, const Counts& counts, const Weights& weights,
                        const Weights& gradients) const override;
  int64_t hidden_units(const Weights& weights) const override { return kind_->hidden_units(of_kind(weights)); }
  at::Tensor hidden(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights) const override {
    return kind_->hidden(rows_RD, counts, merged(weights));
  }

  /// As its kind, where that gathers.
  const parallel::GatheringCompute* gathering() const override {
    return kind_->gathering() != nullptr ? this : nullptr;
  }
  std::vector<int64_t> gathered_widths(const Weights& weights) const override {
    return kind_->gathering()->gathered_widths(of_kind(weights));
  }
  at::Tensor forward_gathered(const parallel::TokenRows& rows, const Weights& weights,
                              const parallel::RowTensors& saved) const override;
  at::Tensor backward_gathered(const parallel::TokenRows& rows, const parallel::RowTensors& saved,
                               const parallel::WeightedGradients& above, const Weights& weights,
                               const Weights& gradients) const override;

 private:
  /// From those of the kind's weights, which are there.
  void write_adapters(const Weights& weights, const Weights& gradients) const;
  Weights of_kind(const Weights& weights) const;
  Weights merged(const Weights& weights) const;

  std::shared_ptr<const ExpertCompute> kind_;
  size_t weights_;
  std::vector<size_t> adapted_;
  double scale_;
};

}  // namespace moetrain
