// defines: RowShape, SoftmaxSums, SoftmaxTarget, largest_of_rows, exponentials_of_rows, gradient_of_rows,
// softmax_gradient: rows of logits become, in place, the gradient of their cross-entropy
#pragma once
#include <cstdint>

#include "parallel/kernels/bfloat16.h"

namespace parallel {

// R rows of N logits x, one after another, float or double

struct RowShape {
  int64_t rows = 0, columns = 0;
};

/// Of each row, [R]: with them log p of column n is x[n] - largest - log(exponentials).
template <class Scalar>
struct SoftmaxSums {
  Scalar* largest;
  Scalar* exponentials;  // the sum of e^(x - largest)
  Scalar* logits;        // the sum of x
};

/// What p is compared with.
struct SoftmaxTarget {
  const int64_t* column_R;    // of each row; negative: none of the columns here
  double here = 1, each = 0;  // its probability beyond that of each column, and that
};

/// The whole row is here: sums, and x = p - target, each row while the cache holds it; of Bfloat16 too.
template <class Scalar>
void softmax_gradient(Scalar* x_RN, const RowShape& shape, const SoftmaxTarget& target,
                      const SoftmaxSums<Wide<Scalar>>& sums);

// The same in three steps, between which what is of a row is summed up with what other ranks have of it:
template <class Scalar>
void largest_of_rows(const Scalar* x_RN, const RowShape& shape, Scalar* largest_R);
/// x = e^(x - largest); makes the other two sums.
template <class Scalar>
void exponentials_of_rows(Scalar* x_RN, const RowShape& shape, const SoftmaxSums<Scalar>& sums);
/// x = x / exponentials - target
template <class Scalar>
void gradient_of_rows(Scalar* x_RN, const RowShape& shape, const SoftmaxTarget& target, const Scalar* exponentials_R);

}  // namespace parallel
