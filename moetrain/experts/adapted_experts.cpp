#include "moetrain/experts/adapted_experts.h"

#include <ATen/ATen.h>

namespace moetrain {

using parallel::ExpertCompute;
using parallel::RowTensors;

ExpertCompute::Weights AdaptedExperts::of_kind(const Weights& weights) const {
  return {weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(weights_)};
}

ExpertCompute::Weights AdaptedExperts::merged(const Weights& weights) const {
  Weights all = of_kind(weights);
  for (size_t n = 0; n < adapted_.size(); ++n) {
    at::Tensor& weight_EMN = all[adapted_[n]];
    weight_EMN = at::baddbmm(weight_EMN, weights[weights_ + 2 * n], weights[weights_ + 2 * n + 1], 1, scale_);
  }
  return all;
}

at::Tensor AdaptedExperts::forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                                   const RowTensors& saved) const {
  return kind_->forward(rows_RD, counts, merged(weights), saved);
}

at::Tensor AdaptedExperts::backward_rows(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                                         const Counts& counts, const Weights& weights, const RowTensors& kept) const {
  return kind_->backward_rows(rows_RD, saved, grad_RD, counts, merged(weights), kept);
}

void AdaptedExperts::backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                                      const RowTensors& kept, const Counts& counts, const Weights& weights,
                                      const Weights& gradients) const {
  kind_->backward_weights(rows_RD, saved, grad_RD, kept, counts, merged(weights), of_kind(gradients));
  write_adapters(weights, gradients);
}

at::Tensor AdaptedExperts::forward_gathered(const parallel::TokenRows& rows, const Weights& weights,
                                            const RowTensors& saved) const {
  return kind_->gathering()->forward_gathered(rows, merged(weights), saved);
}

at::Tensor AdaptedExperts::backward_gathered(const parallel::TokenRows& rows, const RowTensors& saved,
                                             const parallel::WeightedGradients& above, const Weights& weights,
                                             const Weights& gradients) const {
  const bool trained = !gradients.empty();
  at::Tensor grad_rows_RD = kind_->gathering()->backward_gathered(rows, saved, above, merged(weights),
                                                                  trained ? of_kind(gradients) : Weights());
  if (trained) write_adapters(weights, gradients);
  return grad_rows_RD;
}

void AdaptedExperts::write_adapters(const Weights& weights, const Weights& gradients) const {
  for (size_t n = 0; n < adapted_.size(); ++n) {
    const size_t a = weights_ + 2 * n, b = a + 1;
    const at::Tensor& of_matrix_EMN = gradients[adapted_[n]];
    gradients[a].copy_(at::bmm(of_matrix_EMN, weights[b].transpose(1, 2))).mul_(scale_);
    gradients[b].copy_(at::bmm(weights[a].transpose(1, 2), of_matrix_EMN)).mul_(scale_);
  }
}

}  // namespace moetrain
