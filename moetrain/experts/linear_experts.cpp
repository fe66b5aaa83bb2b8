#include "moetrain/experts/linear_experts.h"

#include <ATen/ATen.h>

#include "moetrain/products/grouped_gemm.h"
#include "moetrain/products/product_way.h"

namespace moetrain {

using parallel::RowTensors;

at::Tensor LinearExperts::own(const at::Tensor& rows, Part::End end, const Weights& weights) const {
  const int64_t count = weights.front().size(end == Part::End::kIn ? 1 : 2);
  return end == part_.end && count < part_.whole ? rows.narrow(1, part_.first, count).contiguous() : rows;
}

at::Tensor LinearExperts::all(const at::Tensor& rows, Part::End end) const {
  if (end != part_.end || rows.size(1) == part_.whole) return rows;
  return at::constant_pad_nd(rows, {part_.first, part_.whole - part_.first - rows.size(1)});
}

at::Tensor LinearExperts::forward(const at::Tensor& rows_RM, const Counts& counts, const Weights& weights,
                                  const RowTensors&) const {
  return all(grouped_mm(own(rows_RM, Part::End::kIn, weights), weights[0], counts), Part::End::kOut);
}

at::Tensor LinearExperts::backward_rows(const at::Tensor&, const RowTensors&, const at::Tensor& grad_RN,
                                        const Counts& counts, const Weights& weights, const RowTensors&) const {
  return all(grouped_mm_transposed(own(grad_RN, Part::End::kOut, weights), weights[0], counts), Part::End::kIn);
}

bool LinearExperts::writes_summed_gradients() const { return has_wide_sums(); }

void LinearExperts::backward_weights(const at::Tensor& rows_RM, const RowTensors&, const at::Tensor& grad_RN,
                                     const RowTensors&, const Counts& counts, const Weights& weights,
                                     const Weights& gradients) const {
  grouped_weight_gradient_out(gradients[0], own(rows_RM, Part::End::kIn, weights),
                              own(grad_RN, Part::End::kOut, weights), counts);
}

}  // namespace moetrain
