// defines: Travelling: experts whose rows are copied and their outputs kept, though all are here
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "parallel/dispatch/expert_compute.h"

namespace moetrain {

/// Another's, which does not say that it gathers.
class Travelling : public parallel::ExpertCompute {
 public:
  explicit Travelling(std::shared_ptr<const parallel::ExpertCompute> kind) : kind_(std::move(kind)) {}
  std::vector<int64_t> saved_widths(int64_t width, const Weights& weights) const override {
    return kind_->saved_widths(width, weights);
  }
  std::vector<int64_t> kept_widths(int64_t width, const Weights& weights) const override {
    return kind_->kept_widths(width, weights);
  }
  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const parallel::RowTensors& saved) const override {
    return kind_->forward(rows_RD, counts, weights, saved);
  }
  at::Tensor backward_rows(const at::Tensor& rows_RD, const parallel::RowTensors& saved, const at::Tensor& grad_RD,
                           const Counts& counts, const Weights& weights,
                           const parallel::RowTensors& kept) const override {
    return kind_->backward_rows(rows_RD, saved, grad_RD, counts, weights, kept);
  }
  Weights of_experts(const Weights& weights, int64_t first, int64_t count) const override {
    return kind_->of_experts(weights, first, count);
  }
  void backward_weights(const at::Tensor& rows_RD, const parallel::RowTensors& saved, const at::Tensor& grad_RD,
                        const parallel::RowTensors& kept, const Counts& counts, const Weights& weights,
                        const Weights& gradients) const override {
    kind_->backward_weights(rows_RD, saved, grad_RD, kept, counts, weights, gradients);
  }

 private:
  std::shared_ptr<const parallel::ExpertCompute> kind_;
};

}  // namespace moetrain
