// defines: has_few_rows, few_rows_linear, has_few_rows_of_experts, few_rows_experts: products of a few rows, as
// decoding has them
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace moetrain {

// Outside autograd, with gradients off; each weight is read once for all rows. Sums are in another order than a
// library's product has them, the same for each row whatever stands beside it.

/// Whether they are for such rows, [..., M], and such a weight: on the processor, without gradients, at most
/// parallel::kFewRows.
bool has_few_rows(const at::Tensor& x, const at::Tensor& weight);

/// [..., M], [N, M], [N] or undefined -> [..., N]
at::Tensor few_rows_linear(const at::Tensor& x, const at::Tensor& weight_NM, const at::Tensor& bias_N);

/// Of each expert in turn its rows by its matrix: [R, M], [E, M, N] -> [R, N]. Whether it has them: of each expert.
bool has_few_rows_of_experts(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                             const std::vector<int64_t>& rows_per_expert);
at::Tensor few_rows_experts(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                            const std::vector<int64_t>& rows_per_expert);

}  // namespace moetrain
