#include "parallel/dispatch/expert_compute.h"

#include <ATen/ATen.h>

#include "parallel/dispatch/row_tensors.h"

namespace parallel {

at::Tensor ExpertCompute::evaluate(const at::Tensor& rows_RD, const Counts& rows_per_expert,
                                   const Weights& weights) const {
  return forward(rows_RD, rows_per_expert, weights,
                 places(saved_widths(rows_RD.size(1), weights), rows_RD.size(0), rows_RD.options()));
}

ExpertCompute::Weights ExpertCompute::of_experts(const Weights& weights, int64_t first, int64_t count) const {
  return narrowed(weights, first, count);
}

at::Tensor ExpertCompute::hidden(const at::Tensor& rows_RD, const Counts&, const Weights&) const {
  return at::empty({rows_RD.size(0), 0}, rows_RD.options());
}

}  // namespace parallel
