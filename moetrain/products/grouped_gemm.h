// Matrix multiplications over rows sorted by expert, raw (outside autograd).
// defines: grouped_mm, grouped_mm_out, grouped_mm_transposed, grouped_mm_transposed_out, grouped_weight_gradient_out
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/dispatch/rows_per_expert.h"

namespace moetrain {

// R rows sorted by expert, E experts, M and N inner dims; rows_per_expert: of these R, and may hold zeros; what it
// leaves of them (RowsPerExpert::rows) has no product

/// out[r] = rows[r] weight[e(r)]: [R, M] x [E, M, N] -> [R, N]
at::Tensor grouped_mm(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                      const parallel::RowsPerExpert& rows_per_expert);

/// The same, written to out_RN.
void grouped_mm_out(at::Tensor& out_RN, const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                    const parallel::RowsPerExpert& rows_per_expert);

/// out[r] = rows[r] weight[e(r)]^T: [R, N] x [E, M, N] -> [R, M]
at::Tensor grouped_mm_transposed(const at::Tensor& rows_RN, const at::Tensor& weight_EMN,
                                 const parallel::RowsPerExpert& rows_per_expert);

/// The same, written to out_RM, or added to what is there.
void grouped_mm_transposed_out(at::Tensor& out_RM, const at::Tensor& rows_RN, const at::Tensor& weight_EMN,
                               const parallel::RowsPerExpert& rows_per_expert, bool add = false);

/// out[e] = sum over rows of e of rows[r]^T grad[r]: [R, M], [R, N] -> [E, M, N]. Each expert's part is written
/// once; zero for an expert without rows.
void grouped_weight_gradient_out(at::Tensor out_EMN, const at::Tensor& rows_RM, const at::Tensor& grad_RN,
                                 const parallel::RowsPerExpert& rows_per_expert);

}  // namespace moetrain
