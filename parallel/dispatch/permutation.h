// defines: Permutation, ChoiceOrder, RowOf, CombineGradients, sort_by_expert, in_order, rows_at, rows_at_out,
// gather_rows, combine_rows, combine_rows_backward, rows_from, rows_to, for_each_expert: rows by expert, and the way
// back
#pragma once
#include <optional>
#include <vector>

#include "parallel/dispatch/assignment.h"
#include "parallel/dispatch/rows_per_expert.h"

namespace parallel {

/// Rows sorted by expert; within an expert by (token, choice). Values only: carries no gradient.
struct Permutation {
  at::Tensor token_R;  // int64, the token whose copy is row r
  at::Tensor slot_R;   // int64, t * K + j: the choice that row r serves
  at::Tensor row_TK;   // int64, the row of each choice; R (one past the last) where the choice was dropped
  RowsPerExpert rows_per_expert;
  /// The host does not know how many choices were dropped: each has a row of its own, behind all others, that serves
  /// nobody and may come to hold anything.
  bool has_idle_rows = false;

  int64_t rows() const { return token_R.size(0); }
  /// Whether a choice may be without a row.
  bool drops() const { return has_idle_rows || rows() < row_TK.numel(); }
};

/// Choices in the order of their experts, before the host knows how many each expert has: on a device that works behind
/// the host, nothing here waits for it.
class ChoiceOrder {
 public:
  /// expert_TK: int64, kDropped or an expert; kept: Assignment's.
  ChoiceOrder(const at::Tensor& expert_TK, int64_t num_experts, std::optional<int64_t> kept = {});

  at::Device device() const { return expert_TK_.device(); }
  /// Of each expert in turn; the host waits for a device's.
  std::vector<int64_t> rows_per_expert() const;
  /// int64 [E], on the choices' device.
  at::Tensor rows_E() const;
  /// rows_per_expert: rows_E, on the host.
  Permutation permutation(std::vector<int64_t> rows_per_expert) const;
  /// For one whom the numbers of a device's rows need not concern: the host is not told them. Where it does not know
  /// how many choices were kept either, each has a row.
  Permutation permutation() const;

 private:
  at::Tensor expert_TK_;
  std::optional<int64_t> kept_;
  at::Tensor end_E_;    // of a device: int32, behind the last row of each expert
  Permutation sorted_;  // of the host, which sorts as it counts; of a device rows of all choices, dropped ones last
};

/// The same for a caller who has nothing else to wait for.
Permutation sort_by_expert(const at::Tensor& expert_TK, int64_t num_experts);

/// The same rows in another order: order_R[i] is the row that comes to place i; undefined: all stay. What
/// rows_per_expert counts stays, though rows no longer lie by expert.
Permutation in_order(const Permutation& permutation, const at::Tensor& order_R);

// What follows is raw: outside autograd.

/// [R, D], row index_R[r] of [N, D] at place r.
at::Tensor rows_at(const at::Tensor& rows_ND, const at::Tensor& index_R);
/// The same, written to to_RD, whose rows lie close together.
void rows_at_out(const at::Tensor& to_RD, const at::Tensor& rows_ND, const at::Tensor& index_R);

/// rows[r] = tokens[token_R[r]]
at::Tensor gather_rows(const at::Tensor& tokens_TD, const Permutation& permutation);

/// out[t] = sum over j of weight[t, j] * rows[row_TK[t, j]], in the order of j (no atomics: the same bits every time).
/// `weight_TK` undefined: all ones.
at::Tensor combine_rows(const at::Tensor& rows_RD, const at::Tensor& weight_TK, const Permutation& permutation);

/// Of combine_rows: of each row weight[t, j] grad[t], of each weight <grad[t], its row>, 0 where the choice was
/// dropped.
struct CombineGradients {
  at::Tensor rows_RD, weight_TK;
};
CombineGradients combine_rows_backward(const at::Tensor& grad_TD, const at::Tensor& rows_RD,
                                       const at::Tensor& weight_TK, const Permutation& permutation);

/// What a row is, or becomes a part of: its token, each of whose choices has a copy; or its choice alone.
enum class RowOf { kToken, kChoice };

/// gather_rows; of choices rows[r] = choices[token and choice that row r serves], of [T, K, D].
at::Tensor rows_from(const at::Tensor& input, RowOf row, const Permutation& permutation);

/// combine_rows; of choices (whose weight is undefined) the way back of rows_from: [T, K, D], zeros of a dropped one.
at::Tensor rows_to(const at::Tensor& rows_RD, const at::Tensor& weight_TK, RowOf row, const Permutation& permutation);

/// action(expert, first row, rows) for each expert that has rows, in turn. A loop of the host's: it has to be told.
template <class Action>
void for_each_expert(const RowsPerExpert& rows_per_expert, Action&& action) {
  int64_t first = 0, e = 0;
  for (const int64_t rows : rows_per_expert.on_host()) {
    if (rows > 0) action(e, first, rows);
    first += rows;
    ++e;
  }
}

}  // namespace parallel
