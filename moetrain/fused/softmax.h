// defines: SoftmaxRows, SoftmaxWanted, softmax_gradient_, largest_of_rows, exponentials_of_rows_, gradient_of_rows_
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

// C rows of W logits, contiguous, on the processor in float32 or float64; all raw (outside autograd)

/// Of each row, [C], in at least float32: log p of a column is its logit - largest - log(exponentials).
struct SoftmaxRows {
  at::Tensor largest_C, exponentials_C;
  at::Tensor sum_C;  // of the logits
};

/// The probabilities that p is held against.
struct SoftmaxWanted {
  at::Tensor column_C;        // int64; negative: none of these columns
  double here = 1, each = 0;  // of that column beyond that of each, and that
};

/// Logits of whole rows become p - what is wanted, the gradient of their cross-entropy, in one sweep; bf16 too.
SoftmaxRows softmax_gradient_(at::Tensor& logits_CW, const SoftmaxWanted& wanted);

// The same in three steps, where others have the rest of a row: rows.largest_C and then the sums are to be made theirs
// too in between.
at::Tensor largest_of_rows(const at::Tensor& logits_CW);
/// Logits become exp(logit - largest). Sets the sums.
void exponentials_of_rows_(at::Tensor& logits_CW, SoftmaxRows& rows);
/// Those become p - what is wanted.
void gradient_of_rows_(at::Tensor& exponentials_CW, const SoftmaxWanted& wanted, const SoftmaxRows& rows);

}  // namespace moetrain
