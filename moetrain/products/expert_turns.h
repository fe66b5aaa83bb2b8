// Who computes which experts' products, and in which order. defines: ExpertTurn, in_row_turns, in_expert_turns
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "parallel/dispatch/rows_per_expert.h"

namespace moetrain {

// On the processor threads share out the experts' rows, and each takes its own experts one by one, so that the next
// product finds in the cache what the one before left there. Elsewhere all experts are one turn.

/// Rows of some experts whose products follow one another.
struct ExpertTurn {
  int64_t expert = 0, experts = 0, row = 0, rows = 0;
  parallel::RowsPerExpert counts;

  /// Of a tensor with a row for each of all experts' rows, and of weights [E, ...].
  at::Tensor of(const at::Tensor& rows_RX) const { return rows_RX.narrow(0, row, rows); }
  at::Tensor weight(const at::Tensor& weight_EMN) const { return weight_EMN.narrow(0, expert, experts); }
};

/// action(turn, room [rows of it, width]), for what is computed row by row: an expert's rows may be shared by threads.
void in_row_turns(const at::Tensor& rows_RX, const parallel::RowsPerExpert& counts, int64_t width,
                  const std::function<void(const ExpertTurn& turn, at::Tensor room_SF)>& action);

/// action(turn) with all rows of whole experts, those without rows too. Where threads would have very unequal shares,
/// one turn of all, in which they share each product.
void in_expert_turns(const at::Tensor& rows_RX, const parallel::RowsPerExpert& counts,
                     const std::function<void(const ExpertTurn& turn)>& action);

}  // namespace moetrain
