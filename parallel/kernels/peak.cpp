#include "parallel/kernels/peak.h"

#include <limits>

#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

struct PeakLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(const Scalar* x, int64_t count, Peak<Scalar>* peak) {
    Scalar largest = -std::numeric_limits<Scalar>::infinity(), bad = 0;
#pragma omp simd reduction(max : largest) reduction(+ : bad)
    for (int64_t i = 0; i < count; ++i) {
      largest = x[i] > largest ? x[i] : largest;
      bad += x[i] - x[i] == Scalar(0) ? Scalar(0) : Scalar(1);
    }
    *peak = {largest, bad == Scalar(0)};
  }
};

struct CountLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(const Scalar* x, int64_t count, Scalar least, int64_t* found) {
    int64_t all = 0;
#pragma omp simd reduction(+ : all)
    for (int64_t i = 0; i < count; ++i) all += x[i] >= least ? 1 : 0;
    *found = all;
  }
};

}  // namespace

template <class Scalar>
Peak<Scalar> peak_of(const Scalar* x, int64_t count) {
  Peak<Scalar> peak{};
  run_vectorised<PeakLoop>(x, count, &peak);
  return peak;
}

template <class Scalar>
int64_t count_from(const Scalar* x, int64_t count, Scalar least) {
  int64_t found = 0;
  run_vectorised<CountLoop>(x, count, least, &found);
  return found;
}

template Peak<float> peak_of(const float*, int64_t);
template Peak<double> peak_of(const double*, int64_t);
template int64_t count_from(const float*, int64_t, float);
template int64_t count_from(const double*, int64_t, double);

}  // namespace parallel
