#include "parallel/kernels/pairs.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstring>
#include <type_traits>
#include <utility>

#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

template <int kBytes>
struct VectorOfPairs {
  typedef Pair type __attribute__((vector_size(kBytes), aligned(2), may_alias));
};

template <int kBytes>
struct VectorOfHalves {
  typedef uint16_t type __attribute__((vector_size(kBytes / 2), aligned(2), may_alias));
};

template <int kBytes>
using PairVector = typename VectorOfPairs<kBytes>::type;

template <int kBytes>
constexpr int kLanes = kBytes / 4;

template <int kBytes>
struct Block {  // square
  PairVector<kBytes> row[kLanes<kBytes>];
};

template <int kBytes>
[[gnu::always_inline]] inline void load(PairVector<kBytes>& vector, const Bfloat16* from) {
  vector = *reinterpret_cast<const PairVector<kBytes>*>(from);
}

template <int kBytes>
[[gnu::always_inline]] inline void store(const PairVector<kBytes>& vector, void* to) {
  *reinterpret_cast<PairVector<kBytes>*>(to) = vector;
}

template <int kBytes, int... kLane>
[[gnu::always_inline]] inline void mix(PairVector<kBytes>& vector, const typename VectorOfHalves<kBytes>::type& a,
                                       const typename VectorOfHalves<kBytes>::type& b,
                                       std::integer_sequence<int, kLane...>) {
  constexpr int kSecond = sizeof...(kLane) / 2;
  const auto both = __builtin_shufflevector(a, b, (kLane / 2 + kLane % 2 * kSecond)...);
  std::memcpy(&vector, &both, kBytes);
}

/// Of neighbours in two rows; null: zeros.
template <int kBytes>
[[gnu::always_inline]] inline void load_mixed(PairVector<kBytes>& vector, const Bfloat16* first,
                                              const Bfloat16* second) {
  typedef typename VectorOfHalves<kBytes>::type Half;
  const Half zeros{};
  mix<kBytes>(vector, first == nullptr ? zeros : *reinterpret_cast<const Half*>(first),
              second == nullptr ? zeros : *reinterpret_cast<const Half*>(second),
              std::make_integer_sequence<int, kBytes / 2>());
}

template <int kBytes, int kStep, int... kLane>
[[gnu::always_inline]] inline void exchange(PairVector<kBytes>& a, PairVector<kBytes>& b,
                                            std::integer_sequence<int, kLane...>) {
  constexpr int kAll = sizeof...(kLane);
  const PairVector<kBytes> low =
      __builtin_shufflevector(a, b, ((kLane & kStep) == 0 ? kLane : kAll + kLane - kStep)...);
  b = __builtin_shufflevector(a, b, ((kLane & kStep) == 0 ? kLane + kStep : kAll + kLane)...);
  a = low;
}

/// Squares of `kStep` change places across the diagonal of those twice as large; then of those.
template <int kBytes, int kStep = 1>
[[gnu::always_inline]] inline void transpose(Block<kBytes>& block) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<kBytes>; ++i) {
    if ((i & kStep) == 0)
      exchange<kBytes, kStep>(block.row[i], block.row[i + kStep], std::make_integer_sequence<int, kLanes<kBytes>>());
  }
  if constexpr (2 * kStep < kLanes<kBytes>) transpose<kBytes, 2 * kStep>(block);
}

struct PairTask {
  PairShape shape;
  const Bfloat16* in;
  int64_t stride;
  Pair* pairs;
  int64_t pair_stride;

  /// Null past the last.
  [[gnu::always_inline]] const Bfloat16* row(int64_t k) const { return k < shape.sum ? in + k * stride : nullptr; }
  [[gnu::always_inline]] static const Bfloat16* at(const Bfloat16* row, int64_t n) {
    return row == nullptr ? nullptr : row + n;
  }
};

struct RowsLoop {
  template <int kBytes>
  [[gnu::always_inline]] static void run(const PairTask* task) {
    constexpr int kWide = kLanes<kBytes>;
    for (int64_t k = 0; k < task->shape.padded_sum(); k += 2) {
      const Bfloat16 *const first = task->row(k), *const second = task->row(k + 1);
      for (int64_t n = 0; n < task->shape.columns; n += kWide) {
        PairVector<kBytes> both;
        load_mixed<kBytes>(both, PairTask::at(first, n), PairTask::at(second, n));
        store<kBytes>(both, task->pairs + k / 2 * task->pair_stride + n);
      }
    }
  }
};

struct ColumnsLoop {
  template <int kBytes>
  [[gnu::always_inline]] static void run(const PairTask* task) {
    constexpr int kWide = kLanes<kBytes>;
    for (int64_t n = 0; n < task->shape.columns; n += kWide) {
      for (int64_t k = 0; k < task->shape.sum; k += 2 * kWide) {
        Block<kBytes> block;
        for (int i = 0; i < kWide; ++i) load<kBytes>(block.row[i], task->in + (n + i) * task->stride + k);
        transpose<kBytes>(block);
        for (int i = 0; i < kWide; ++i) store<kBytes>(block.row[i], task->pairs + (k / 2 + i) * task->pair_stride + n);
      }
    }
  }
};

/// Its pairs are those of the rows that come out.
struct TransposeLoop {
  template <int kBytes>
  [[gnu::always_inline]] static void run(const PairTask* task) {
    constexpr int kWide = kLanes<kBytes>;
    for (int64_t n = 0; n < task->shape.columns; n += kWide) {
      for (int64_t k = 0; k < task->shape.padded_sum(); k += 2 * kWide) {
        Block<kBytes> block;
        for (int i = 0; i < kWide; ++i) {
          load_mixed<kBytes>(block.row[i], PairTask::at(task->row(k + 2 * i), n),
                             PairTask::at(task->row(k + 2 * i + 1), n));
        }
        transpose<kBytes>(block);
        for (int i = 0; i < kWide; ++i) store<kBytes>(block.row[i], task->pairs + (n + i) * task->pair_stride + k / 2);
      }
    }
  }
};

template <class Scalar>
struct SumTask {
  int64_t rows, columns;
  const float* sums;
  int64_t sum_stride;
  Scalar* out;
  int64_t out_stride;
};

template <bool kAdd>
struct GiveLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(const SumTask<Scalar>* task) {
    for (int64_t r = 0; r < task->rows; ++r) {
      const float* const sums = task->sums + r * task->sum_stride;
      Scalar* const out = task->out + r * task->out_stride;
#pragma omp simd
      for (int64_t n = 0; n < task->columns; ++n) out[n] = kAdd ? out[n] + sums[n] : sums[n];
    }
  }
};

#if defined(__x86_64__) && defined(__GNUC__)
/// Past the cache: nobody reads such sums before others have taken its place.
[[gnu::target("avx512f")]] void stream(const SumTask<float>& task) {
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* const sums = task.sums + r * task.sum_stride;
    float* const out = task.out + r * task.out_stride;
    for (int64_t n = 0; n < task.columns; n += 16) _mm512_stream_ps(out + n, _mm512_loadu_ps(sums + n));
  }
  _mm_sfence();  // before any other thread is told that they are there
}
#endif

}  // namespace

void pairs_of_rows(const PairShape& shape, const Bfloat16* in_KN, int64_t stride, Pair* pairs, int64_t pair_stride) {
  const PairTask task{shape, in_KN, stride, pairs, pair_stride};
  run_of_width<RowsLoop>(&task);
}

void pairs_of_columns(const PairShape& shape, const Bfloat16* in_NK, int64_t stride, Pair* pairs, int64_t pair_stride) {
  const PairTask task{shape, in_NK, stride, pairs, pair_stride};
  run_of_width<ColumnsLoop>(&task);
}

void columns_as_rows(const PairShape& shape, const Bfloat16* in_KN, int64_t stride, Bfloat16* out_NK,
                     int64_t out_stride) {
  const PairTask task{shape, in_KN, stride, reinterpret_cast<Pair*>(out_NK), out_stride / 2};
  run_of_width<TransposeLoop>(&task);
}

template <class Scalar>
void give_sums(int64_t rows, int64_t columns, const float* sums, int64_t sum_stride, Scalar* out, int64_t out_stride,
               bool add) {
  const SumTask<Scalar> task{rows, columns, sums, sum_stride, out, out_stride};
#if defined(__x86_64__) && defined(__GNUC__)
  if constexpr (std::is_same_v<Scalar, float>) {
    const bool whole = columns % 16 == 0 && out_stride % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0;
    if (whole && !add && vector_width() == VectorWidth::kAvx512) return stream(task);
  }
#endif
  add ? run_vectorised<GiveLoop<true>>(&task) : run_vectorised<GiveLoop<false>>(&task);
}

template void give_sums(int64_t, int64_t, const float*, int64_t, float*, int64_t, bool);
template void give_sums(int64_t, int64_t, const float*, int64_t, Bfloat16*, int64_t, bool);

}  // namespace parallel
