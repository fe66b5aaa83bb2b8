#include "parallel/kernels/token_rows.h"

#include <cstring>

#include "parallel/kernels/bfloat16.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

/// sum = w a, or sum += w a
struct FirstLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, Wide<Scalar> weight, const Scalar* row, Wide<Scalar>* sum) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) sum[d] = weight * row[d];
  }
};

struct FurtherLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, Wide<Scalar> weight, const Scalar* row, Wide<Scalar>* sum) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) sum[d] += weight * row[d];
  }
};

/// out = w grad, and <grad, row>
struct BackwardLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, Wide<Scalar> weight, const Scalar* grad, const Scalar* row,
                                         Scalar* out, Scalar* dot) {
    Wide<Scalar> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < width; ++d) {
      const Wide<Scalar> above = grad[d], at = row[d];
      sum += above * at;
      out[d] = weight * above;
    }
    *dot = sum;
  }
};

}  // namespace

template <class Scalar>
void copy_rows(const Scalar* from, const int64_t* index_R, int64_t rows, int64_t width, Scalar* rows_RD) {
  over_threads(rows, rows_of_thread(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(rows_RD + r * width, from + index_R[r] * width, static_cast<size_t>(width) * sizeof(Scalar));
    }
  });
}

template <class Scalar>
void add_weighted_rows(const WeightedRows<Scalar>& all, Scalar* out_TD) {
  over_threads(all.tokens, rows_of_thread(all.width * all.choices), [&](int64_t begin, int64_t end) {
    WideRow<Scalar> wide(all.width);
    for (int64_t t = begin; t < end; ++t) {
      Scalar* out = out_TD + t * all.width;
      Wide<Scalar>* sum = wide.place(out);
      bool first = true;
      for (int64_t slot = t * all.choices; slot < (t + 1) * all.choices; ++slot) {
        if (all.row_TK[slot] == all.rows) continue;
        const Wide<Scalar> weight = all.weight_TK != nullptr ? Wide<Scalar>(all.weight_TK[slot]) : Wide<Scalar>(1);
        const Scalar* row = all.rows_RD + all.row_TK[slot] * all.width;
        if (first) {
          run_vectorised<FirstLoop>(all.width, weight, row, sum);
        } else {
          run_vectorised<FurtherLoop>(all.width, weight, row, sum);
        }
        first = false;
      }
      if (first) {
        std::memset(out, 0, static_cast<size_t>(all.width) * sizeof(Scalar));
      } else {
        wide.round_into(out);
      }
    }
  });
}

template <class Scalar>
void weighted_rows_backward(const WeightedRowsBackward<Scalar>& all, Scalar* grad_rows_RD, Scalar* grad_weight_TK) {
  over_threads(all.rows, rows_of_thread(all.width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t slot = all.slot_R[r];
      run_vectorised<BackwardLoop>(all.width, Wide<Scalar>(all.weight_TK[slot]),
                                   all.grad_TD + all.token_R[r] * all.width, all.rows_RD + r * all.width,
                                   grad_rows_RD + r * all.width, grad_weight_TK + slot);
    }
  });
}

template void copy_rows(const float*, const int64_t*, int64_t, int64_t, float*);
template void copy_rows(const double*, const int64_t*, int64_t, int64_t, double*);
template void copy_rows(const Bfloat16*, const int64_t*, int64_t, int64_t, Bfloat16*);
template void add_weighted_rows(const WeightedRows<float>&, float*);
template void add_weighted_rows(const WeightedRows<double>&, double*);
template void add_weighted_rows(const WeightedRows<Bfloat16>&, Bfloat16*);
template void weighted_rows_backward(const WeightedRowsBackward<float>&, float*, float*);
template void weighted_rows_backward(const WeightedRowsBackward<double>&, double*, double*);
template void weighted_rows_backward(const WeightedRowsBackward<Bfloat16>&, Bfloat16*, Bfloat16*);

}  // namespace parallel
