// Loops that are compiled for several kinds of processor, and shared out over LibTorch's threads. For the files of this
// room alone, which are compiled with OpenMP.
// defines: VectorWidth, vector_width, run_vectorised, run_of_width, over_threads, WideRow
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <vector>

#include "parallel/kernels/bfloat16.h"

namespace parallel {

enum class VectorWidth { kBaseline, kAvx2, kAvx512 };

/// The widest that this processor has, but no wider than ATEN_CPU_CAPABILITY (default, avx2, avx512) allows: as
/// LibTorch's own loops.
VectorWidth vector_width();

#if defined(__x86_64__) && defined(__GNUC__)
template <class Loop, class... Arguments>
[[gnu::target("arch=x86-64-v4"), gnu::noinline]] void run_avx512(Arguments... arguments) {
  Loop::run(arguments...);
}
template <class Loop, class... Arguments>
[[gnu::target("arch=x86-64-v3"), gnu::noinline]] void run_avx2(Arguments... arguments) {
  Loop::run(arguments...);
}
#endif
template <class Loop, class... Arguments>
[[gnu::noinline]] void run_baseline(Arguments... arguments) {
  Loop::run(arguments...);
}

/// A loop that is written for a width of vectors, in bytes: Loop::run<kBytes>.
template <class Loop, int kBytes>
struct OfWidth {
  template <class... Arguments>
  [[gnu::always_inline]] static void run(Arguments... arguments) {
    Loop::template run<kBytes>(arguments...);
  }
};

/// Loop::run, which with all that it calls is always inlined, as compiled for this processor.
template <class Loop, class... Arguments>
void run_vectorised(Arguments... arguments) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_width() == VectorWidth::kAvx512) return run_avx512<Loop>(arguments...);
  if (vector_width() == VectorWidth::kAvx2) return run_avx2<Loop>(arguments...);
#endif
  run_baseline<Loop>(arguments...);
}

template <class Loop, class... Arguments>
void run_of_width(Arguments... arguments) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_width() == VectorWidth::kAvx512) return run_avx512<OfWidth<Loop, 64>>(arguments...);
  if (vector_width() == VectorWidth::kAvx2) return run_avx2<OfWidth<Loop, 32>>(arguments...);
#endif
  run_baseline<OfWidth<Loop, 16>>(arguments...);
}

/// action(begin, end) for ranges that make up 0 to `count`, each of about `least` or more, one a thread.
template <class Action>
void over_threads(int64_t count, int64_t least, const Action& action) {
  const int64_t ranges = std::min<int64_t>(omp_get_max_threads(), count / std::max<int64_t>(1, least));
  if (ranges <= 1 || omp_in_parallel()) {
    if (count > 0) action(int64_t{0}, count);
    return;
  }
  std::exception_ptr failed;  // none may leave a thread of OpenMP's; of several that of the first range
  int64_t failed_at = count;
#pragma omp parallel num_threads(static_cast <int>(ranges))
  {
    const int64_t threads = omp_get_num_threads(), own = omp_get_thread_num();
    const int64_t begin = count * own / threads, end = count * (own + 1) / threads;
    try {
      if (begin < end) action(begin, end);
    } catch (...) {
#pragma omp critical(moetrain_over_threads)
      if (begin < failed_at) failed = std::current_exception(), failed_at = begin;
    }
  }
  if (failed) std::rethrow_exception(failed);
}

struct WidenLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* row, Wide<Scalar>* wide) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) wide[d] = row[d];
  }
};

struct RoundLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Wide<Scalar>* wide, Scalar* row) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) row[d] = wide[d];
  }
};

/// Where a thread computes a row in several sweeps: in its place, or, where numbers are narrower than what loops
/// compute in, in a row of its own, so that they are rounded once.
template <class Scalar>
class WideRow {
 public:
  explicit WideRow(int64_t width) : width_(width), own_(static_cast<size_t>(kNarrow ? width : 0)) {}

  /// For a row that is to be made.
  Wide<Scalar>* place(Scalar* row) {
    if constexpr (kNarrow) {
      return own_.data();
    } else {
      return row;
    }
  }
  /// The same with its numbers.
  Wide<Scalar>* read(Scalar* row) {
    if constexpr (kNarrow) run_vectorised<WidenLoop>(width_, static_cast<const Scalar*>(row), own_.data());
    return place(row);
  }
  /// The row becomes what its place holds.
  void round_into(Scalar* row) {
    if constexpr (kNarrow) run_vectorised<RoundLoop>(width_, static_cast<const Wide<Scalar>*>(own_.data()), row);
  }

 private:
  static constexpr bool kNarrow = !std::is_same_v<Wide<Scalar>, Scalar>;
  int64_t width_;
  std::vector<Wide<Scalar>> own_;
};

/// Of so many numbers each: below it a thread is not worth its start.
constexpr int64_t kNumbersOfThread = 1 << 15;
inline int64_t rows_of_thread(int64_t columns) {
  return std::max<int64_t>(1, kNumbersOfThread / std::max<int64_t>(1, columns));
}

}  // namespace parallel
