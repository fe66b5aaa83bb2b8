#include "parallel/kernels/rms_norm.h"

#include <cmath>
#include <vector>

#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

constexpr int64_t kRowsOfBlock = 64;

struct SquaresLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* x, Scalar* squares) {
    Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < width; ++d) sum += x[d] * x[d];
    *squares = sum;
  }
};

struct NormLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* x, const Scalar* weight, Scalar scale,
                                         Scalar* y) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) y[d] = x[d] * scale * weight[d];
  }
};

/// With n = x scale: grad_weight += grad n, and grad_x = scale (grad w - n mean(grad w n)).
struct BackwardRowLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* grad, const Scalar* x, const Scalar* weight,
                                         Scalar scale, Scalar* grad_x, Scalar* grad_weight) {
    Scalar dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < width; ++d) {
      const Scalar of_weight = grad[d] * (x[d] * scale);
      grad_weight[d] += of_weight;
      dot += of_weight * weight[d];
    }
    const Scalar mean = dot / static_cast<Scalar>(width);
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) grad_x[d] = scale * (grad[d] * weight[d] - x[d] * scale * mean);
  }
};

}  // namespace

template <class Scalar>
void rms_norm(const Scalar* x_TD, const Scalar* weight_D, int64_t rows, int64_t width, double epsilon, Scalar* y_TD,
              Scalar* scale_T) {
  over_threads(rows, rows_of_thread(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Scalar* x = x_TD + t * width;
      Scalar squares = 0;
      run_vectorised<SquaresLoop>(width, x, &squares);
      const Scalar scale = Scalar(1) / std::sqrt(squares / static_cast<Scalar>(width) + static_cast<Scalar>(epsilon));
      if (scale_T != nullptr) scale_T[t] = scale;
      run_vectorised<NormLoop>(width, x, weight_D, scale, y_TD + t * width);
    }
  });
}

template <class Scalar>
void rms_norm_backward(const RmsNormBackward<Scalar>& all, Scalar* grad_x_TD, Scalar* grad_weight_D) {
  const int64_t width = all.width, blocks = (all.rows + kRowsOfBlock - 1) / kRowsOfBlock;
  std::vector<Scalar> partial_BD(static_cast<size_t>(blocks * width), Scalar(0));
  over_threads(blocks, rows_of_thread(width * kRowsOfBlock), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin * kRowsOfBlock; t < std::min(all.rows, end * kRowsOfBlock); ++t) {
      run_vectorised<BackwardRowLoop>(width, all.grad_TD + t * width, all.x_TD + t * width, all.weight_D,
                                      all.scale_T[t], grad_x_TD + t * width,
                                      partial_BD.data() + t / kRowsOfBlock * width);
    }
  });
  std::fill_n(grad_weight_D, width, Scalar(0));
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t d = 0; d < width; ++d) grad_weight_D[d] += partial_BD[static_cast<size_t>(b * width + d)];
  }
}

template void rms_norm(const float*, const float*, int64_t, int64_t, double, float*, float*);
template void rms_norm(const double*, const double*, int64_t, int64_t, double, double*, double*);
template void rms_norm_backward(const RmsNormBackward<float>&, float*, float*);
template void rms_norm_backward(const RmsNormBackward<double>&, double*, double*);

}  // namespace parallel
