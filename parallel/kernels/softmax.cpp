#include "parallel/kernels/softmax.h"

#include <limits>

#include "parallel/kernels/curves.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

/// Sums of so many numbers are added up in float64: a vocabulary is long for float32.
constexpr int64_t kBlock = 1024;

struct LargestLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(const Scalar* x, int64_t columns, Scalar* largest) {
    Scalar most = -std::numeric_limits<Scalar>::infinity();
#pragma omp simd reduction(max : most)
    for (int64_t n = 0; n < columns; ++n) most = x[n] > most ? x[n] : most;
    *largest = most;
  }
};

struct ExponentialsLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(Scalar* x, int64_t columns, Scalar largest, Scalar* exponentials,
                                         Scalar* logits) {
    double all_exponentials = 0, all_logits = 0;
    for (int64_t first = 0; first < columns; first += kBlock) {
      const int64_t end = std::min(columns, first + kBlock);
      Scalar sum = 0, total = 0;
#pragma omp simd reduction(+ : sum, total)
      for (int64_t n = first; n < end; ++n) {
        const Scalar logit = x[n], e = exp_of(logit - largest);
        x[n] = e;
        sum += e;
        total += logit;
      }
      all_exponentials += static_cast<double>(sum);
      all_logits += static_cast<double>(total);
    }
    *exponentials = static_cast<Scalar>(all_exponentials);
    *logits = static_cast<Scalar>(all_logits);
  }
};

struct GradientLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(Scalar* x, int64_t columns, Scalar exponentials, Scalar each) {
    const Scalar factor = Scalar(1) / exponentials;
#pragma omp simd
    for (int64_t n = 0; n < columns; ++n) x[n] = x[n] * factor - each;
  }
};

template <class Scalar>
void gradient_of_row(Scalar* x, int64_t columns, const SoftmaxTarget& target, int64_t row, Scalar exponentials) {
  run_vectorised<GradientLoop>(x, columns, exponentials, static_cast<Scalar>(target.each));
  const int64_t column = target.column_R[row];
  if (column >= 0) x[column] -= static_cast<Scalar>(target.here);
}

template <class Action>
void for_each_row(const RowShape& shape, const Action& action) {
  over_threads(shape.rows, rows_of_thread(shape.columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) action(row);
  });
}

}  // namespace

template <class Scalar>
void largest_of_rows(const Scalar* x_RN, const RowShape& shape, Scalar* largest_R) {
  for_each_row(shape, [&](int64_t row) {
    run_vectorised<LargestLoop>(x_RN + row * shape.columns, shape.columns, largest_R + row);
  });
}

template <class Scalar>
void exponentials_of_rows(Scalar* x_RN, const RowShape& shape, const SoftmaxSums<Scalar>& sums) {
  for_each_row(shape, [&](int64_t row) {
    run_vectorised<ExponentialsLoop>(x_RN + row * shape.columns, shape.columns, sums.largest[row],
                                     sums.exponentials + row, sums.logits + row);
  });
}

template <class Scalar>
void gradient_of_rows(Scalar* x_RN, const RowShape& shape, const SoftmaxTarget& target, const Scalar* exponentials_R) {
  for_each_row(shape, [&](int64_t row) {
    gradient_of_row(x_RN + row * shape.columns, shape.columns, target, row, exponentials_R[row]);
  });
}

template <class Scalar>
void softmax_gradient(Scalar* x_RN, const RowShape& shape, const SoftmaxTarget& target,
                      const SoftmaxSums<Wide<Scalar>>& sums) {
  over_threads(shape.rows, rows_of_thread(shape.columns), [&](int64_t begin, int64_t end) {
    WideRow<Scalar> wide(shape.columns);
    for (int64_t row = begin; row < end; ++row) {
      Scalar* own = x_RN + row * shape.columns;
      Wide<Scalar>* x = wide.read(own);
      run_vectorised<LargestLoop>(static_cast<const Wide<Scalar>*>(x), shape.columns, sums.largest + row);
      run_vectorised<ExponentialsLoop>(x, shape.columns, sums.largest[row], sums.exponentials + row, sums.logits + row);
      gradient_of_row(x, shape.columns, target, row, sums.exponentials[row]);
      wide.round_into(own);
    }
  });
}

template void largest_of_rows(const float*, const RowShape&, float*);
template void largest_of_rows(const double*, const RowShape&, double*);
template void exponentials_of_rows(float*, const RowShape&, const SoftmaxSums<float>&);
template void exponentials_of_rows(double*, const RowShape&, const SoftmaxSums<double>&);
template void gradient_of_rows(float*, const RowShape&, const SoftmaxTarget&, const float*);
template void gradient_of_rows(double*, const RowShape&, const SoftmaxTarget&, const double*);
template void softmax_gradient(float*, const RowShape&, const SoftmaxTarget&, const SoftmaxSums<float>&);
template void softmax_gradient(double*, const RowShape&, const SoftmaxTarget&, const SoftmaxSums<double>&);
template void softmax_gradient(Bfloat16*, const RowShape&, const SoftmaxTarget&, const SoftmaxSums<float>&);

}  // namespace parallel
