#include "parallel/kernels/few_rows.h"

#include <utility>

#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

template <int kBytes, class Scalar>
struct VectorOf {
  typedef Scalar type __attribute__((vector_size(kBytes), aligned(sizeof(Scalar)), may_alias));
  static constexpr int64_t kLanes = kBytes / static_cast<int64_t>(sizeof(Scalar));
};

template <int kBytes, class Scalar, int... kLane>
[[gnu::always_inline]] inline Scalar halves_added(typename VectorOf<kBytes, Scalar>::type v,
                                                  std::integer_sequence<int, kLane...>) {
  constexpr int kHalf = sizeof...(kLane);
  const auto half = __builtin_shufflevector(v, v, kLane...) + __builtin_shufflevector(v, v, (kLane + kHalf)...);
  if constexpr (kHalf == 1) {
    return half[0];
  } else {
    return halves_added<kBytes / 2, Scalar>(half, std::make_integer_sequence<int, kHalf / 2>());
  }
}

/// Of a vector's numbers, always in the same order.
template <int kBytes, class Scalar>
[[gnu::always_inline]] inline Scalar sum_of(typename VectorOf<kBytes, Scalar>::type v) {
  return halves_added<kBytes, Scalar>(v, std::make_integer_sequence<int, VectorOf<kBytes, Scalar>::kLanes / 2>());
}

template <class Scalar>
struct LinearTask {
  const FewRowsLinear<Scalar>& all;
  Scalar* y_RN;
  int64_t begin, end;  // of the outputs
};

/// Sums of kOutputs x kRows products stay in registers, while the weights of the next outputs are fetched.
struct LinearLoop {
  template <int kBytes, class Scalar>
  [[gnu::always_inline]] static void run(const LinearTask<Scalar>* task) {
    constexpr bool kMany = kBytes == 64;  // registers: 32 of them, else 16
    for (int64_t row = 0; row < task->all.rows;) {
      const int64_t left = task->all.rows - row;
      if (left >= 8) {
        outputs<kBytes, 8, kMany ? 3 : 1>(*task, row), row += 8;
      } else if (left >= 4) {
        outputs<kBytes, 4, kMany ? 6 : 3>(*task, row), row += 4;
      } else if (left >= 2) {
        outputs<kBytes, 2, kMany ? 8 : 4>(*task, row), row += 2;
      } else {
        outputs<kBytes, 1, 8>(*task, row), row += 1;
      }
    }
  }

 private:
  template <int kBytes, int kRows, int kOutputs, class Scalar>
  [[gnu::always_inline]] static void outputs(const LinearTask<Scalar>& task, int64_t row) {
    int64_t n = task.begin;
    for (; n + kOutputs <= task.end; n += kOutputs) block<kBytes, kRows, kOutputs>(task, row, n);
    for (; n < task.end; ++n) block<kBytes, kRows, 1>(task, row, n);
  }

  template <int kBytes, int kRows, int kOutputs, class Scalar>
  [[gnu::always_inline]] static void block(const LinearTask<Scalar>& task, int64_t row, int64_t n) {
    using Vector = typename VectorOf<kBytes, Scalar>::type;
    constexpr int64_t kLanes = VectorOf<kBytes, Scalar>::kLanes;
    const int64_t in = task.all.in;
    const Scalar *x = task.all.x_RM + row * in, *w = task.all.weight_NM + n * in, *next = w + kOutputs * in;
    Vector sum[kOutputs][kRows] = {};
    int64_t m = 0;
    for (; m + kLanes <= in; m += kLanes) {
#pragma GCC unroll 8
      for (int o = 0; o < kOutputs; ++o) {
        const Vector weight = *reinterpret_cast<const Vector*>(w + o * in + m);
        __builtin_prefetch(next + o * in + m, 0, 2);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sum[o][r] += weight * *reinterpret_cast<const Vector*>(x + r * in + m);
      }
    }
#pragma GCC unroll 8
    for (int o = 0; o < kOutputs; ++o) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        Scalar all = sum_of<kBytes, Scalar>(sum[o][r]);
        for (int64_t k = m; k < in; ++k) all += w[o * in + k] * x[r * in + k];
        if (task.all.bias_N != nullptr) all += task.all.bias_N[n + o];
        task.y_RN[(row + r) * task.all.out + n + o] = all;
      }
    }
  }
};

constexpr int64_t kColumnsOfTile = 1024;  // sums of so many stay in the nearest cache

template <class Scalar>
struct ExpertTask {
  const FewRowsOfExperts<Scalar>& all;
  Scalar* y_RN;
  ExpertRows rows;
  int64_t begin, end;  // of the columns
};

/// Some rows of a matrix at a time, one after another as they lie in memory.
struct ExpertLoop {
  template <int kBytes, class Scalar>
  [[gnu::always_inline]] static void run(const ExpertTask<Scalar>* task) {
    for (int64_t row = 0; row < task->rows.count;) {
      const int64_t left = task->rows.count - row;
      if (left >= 8) {
        rows<kBytes, 8>(*task, row), row += 8;
      } else if (left >= 4) {
        rows<kBytes, 4>(*task, row), row += 4;
      } else if (left >= 2) {
        rows<kBytes, 2>(*task, row), row += 2;
      } else {
        rows<kBytes, 1>(*task, row), row += 1;
      }
    }
  }

 private:
  static constexpr int kDeep = 8;

  template <int kBytes, int kRows, class Scalar>
  [[gnu::always_inline]] static void rows(const ExpertTask<Scalar>& task, int64_t row) {
    const FewRowsOfExperts<Scalar>& all = task.all;
    const int64_t first = task.rows.begin + row;
    const Scalar* x[kRows];
    Scalar* y[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      x[r] = all.x_RM + (first + r) * all.in;
      y[r] = task.y_RN + (first + r) * all.out;
      for (int64_t n = task.begin; n < task.end; ++n) y[r][n] = Scalar(0);
    }
    const Scalar* w = all.weight_EMN + task.rows.expert * all.in * all.out;
    int64_t m = 0;
    for (; m + kDeep <= all.in; m += kDeep) add<kBytes, kRows, kDeep>(task, x, y, w + m * all.out, m);
    for (; m < all.in; ++m) add<kBytes, kRows, 1>(task, x, y, w + m * all.out, m);
  }

  template <int kBytes, int kRows, int kDepth, class Scalar>
  [[gnu::always_inline]] static void add(const ExpertTask<Scalar>& task, const Scalar* const (&x)[kRows],
                                         Scalar* const (&y)[kRows], const Scalar* w, int64_t m) {
    using Vector = typename VectorOf<kBytes, Scalar>::type;
    constexpr int64_t kLanes = VectorOf<kBytes, Scalar>::kLanes;
    const int64_t out = task.all.out;
    int64_t n = task.begin;
    for (; n + kLanes <= task.end; n += kLanes) {
      Vector sum[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r] = *reinterpret_cast<const Vector*>(y[r] + n);
#pragma GCC unroll 8
      for (int k = 0; k < kDepth; ++k) {
        const Vector weight = *reinterpret_cast<const Vector*>(w + k * out + n);
        __builtin_prefetch(w + (k + kDepth) * out + n, 0, 2);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sum[r] += x[r][m + k] * weight;
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) *reinterpret_cast<Vector*>(y[r] + n) = sum[r];
    }
    for (; n < task.end; ++n) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        Scalar sum = y[r][n];
        for (int k = 0; k < kDepth; ++k) sum += x[r][m + k] * w[k * out + n];
        y[r][n] = sum;
      }
    }
  }
};

}  // namespace

template <class Scalar>
void few_rows_linear(const FewRowsLinear<Scalar>& all, Scalar* y_RN) {
  over_threads(all.out, rows_of_thread(all.in), [&](int64_t begin, int64_t end) {
    const LinearTask<Scalar> task{all, y_RN, begin, end};
    run_of_width<LinearLoop>(&task);
  });
}

template <class Scalar>
void few_rows_experts(const FewRowsOfExperts<Scalar>& all, Scalar* y_RN) {
  constexpr int64_t kColumns = 64;  // of a block: what one thread computes at least
  const int64_t blocks = (all.out + kColumns - 1) / kColumns;
  const auto experts = static_cast<int64_t>(all.experts.size());
  over_threads(experts * blocks, rows_of_thread(all.in * kColumns), [&](int64_t begin, int64_t end) {
    for (int64_t e = begin / blocks; e < experts && e * blocks < end; ++e) {
      const int64_t first = std::max<int64_t>(0, begin - e * blocks), last = std::min(blocks, end - e * blocks);
      const int64_t last_column = std::min(all.out, last * kColumns);
      for (int64_t column = first * kColumns; column < last_column; column += kColumnsOfTile) {
        const ExpertTask<Scalar> task{all, y_RN, all.experts[static_cast<size_t>(e)], column,
                                      std::min(column + kColumnsOfTile, last_column)};
        run_of_width<ExpertLoop>(&task);
      }
    }
  });
}

template void few_rows_linear(const FewRowsLinear<float>&, float*);
template void few_rows_linear(const FewRowsLinear<double>&, double*);
template void few_rows_experts(const FewRowsOfExperts<float>&, float*);
template void few_rows_experts(const FewRowsOfExperts<double>&, double*);

}  // namespace parallel
