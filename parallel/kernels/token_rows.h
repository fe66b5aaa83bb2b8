// defines: copy_rows, add_weighted_rows, weighted_rows_backward: copies of tokens for their experts, and the way back
#pragma once
#include <cstdint>

namespace parallel {

// R rows and T tokens of D numbers, one after another, float, double or Bfloat16, whose sums are rounded once; K
// choices of a token

/// rows[r] = from[index[r]]
template <class Scalar>
void copy_rows(const Scalar* from, const int64_t* index_R, int64_t rows, int64_t width, Scalar* rows_RD);

/// What add_weighted_rows adds up.
template <class Scalar>
struct WeightedRows {
  const Scalar* rows_RD;
  const int64_t* row_TK;    // R: none
  const Scalar* weight_TK;  // null: all ones
  int64_t tokens, choices, rows, width;
};

/// out[t] = sum over j of weight[t, j] rows[row[t, j]], in the order of j.
template <class Scalar>
void add_weighted_rows(const WeightedRows<Scalar>& all, Scalar* out_TD);

/// Of the rows that were added, from the gradient of each token: grad_rows[r] = weight[slot[r]] grad[token[r]], and of
/// the weight of choice slot[r] <grad[token[r]], rows[r]>, which others keep.
template <class Scalar>
struct WeightedRowsBackward {
  const Scalar* grad_TD;
  const Scalar* rows_RD;
  const Scalar* weight_TK;
  const int64_t *token_R, *slot_R;
  int64_t rows, width;
};
template <class Scalar>
void weighted_rows_backward(const WeightedRowsBackward<Scalar>& all, Scalar* grad_rows_RD, Scalar* grad_weight_TK);

}  // namespace parallel
