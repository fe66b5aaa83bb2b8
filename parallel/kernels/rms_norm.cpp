#include "parallel/kernels/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

constexpr int64_t kRowsOfBlock = 64;

struct SquaresLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* x, Wide<Scalar>* squares) {
    Wide<Scalar> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < width; ++d) {
      const Wide<Scalar> at = x[d];
      sum += at * at;
    }
    *squares = sum;
  }
};

struct NormLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* x, const Scalar* weight, Wide<Scalar> scale,
                                         Scalar* y) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
      const Wide<Scalar> at = x[d], of_weight = weight[d];
      y[d] = at * scale * of_weight;
    }
  }
};

/// With n = x scale, which is `kept` times `factor`: grad_weight += grad n, and grad_x = scale (grad w - n mean(grad w
/// n)).
struct BackwardRowLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, const Scalar* grad, const Scalar* kept,
                                         const Wide<Scalar>* factor, const Scalar* weight, Wide<Scalar> scale,
                                         Scalar* grad_x, Wide<Scalar>* grad_weight) {
    Wide<Scalar> dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < width; ++d) {
      const Wide<Scalar> above = grad[d], at = kept[d], w = weight[d], of_weight = above * (at * factor[d]);
      grad_weight[d] += of_weight;
      dot += of_weight * w;
    }
    const Wide<Scalar> mean = dot / static_cast<Wide<Scalar>>(width);
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
      const Wide<Scalar> above = grad[d], at = kept[d], w = weight[d];
      grad_x[d] = scale * (above * w - at * factor[d] * mean);
    }
  }
};

}  // namespace

template <class Scalar>
void rms_norm(const Scalar* x_TD, const Scalar* weight_D, int64_t rows, int64_t width, double epsilon, Scalar* y_TD,
              Wide<Scalar>* scale_T) {
  over_threads(rows, rows_of_thread(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Scalar* x = x_TD + t * width;
      Wide<Scalar> squares = 0;
      run_vectorised<SquaresLoop>(width, x, &squares);
      const Wide<Scalar> mean = squares / static_cast<Wide<Scalar>>(width);
      const Wide<Scalar> scale = Wide<Scalar>(1) / std::sqrt(mean + static_cast<Wide<Scalar>>(epsilon));
      if (scale_T != nullptr) scale_T[t] = scale;
      run_vectorised<NormLoop>(width, x, weight_D, scale, y_TD + t * width);
    }
  });
}

template <class Scalar>
void rms_norm_backward(const RmsNormBackward<Scalar>& all, Scalar* grad_x_TD, Scalar* grad_weight_D) {
  const int64_t width = all.width, blocks = (all.rows + kRowsOfBlock - 1) / kRowsOfBlock;
  std::vector<Wide<Scalar>> partial_BD(static_cast<size_t>(blocks * width), 0), total_D(static_cast<size_t>(width), 0);
  const Scalar* const kept_TD = all.x_TD != nullptr ? all.x_TD : all.y_TD;
  over_threads(blocks, rows_of_thread(width * kRowsOfBlock), [&](int64_t begin, int64_t end) {
    std::vector<Wide<Scalar>> factor_D(static_cast<size_t>(width));
    if (all.x_TD == nullptr) {
      for (int64_t d = 0; d < width; ++d)
        factor_D[static_cast<size_t>(d)] = 1 / static_cast<Wide<Scalar>>(all.weight_D[d]);
    }
    for (int64_t t = begin * kRowsOfBlock; t < std::min(all.rows, end * kRowsOfBlock); ++t) {
      if (all.x_TD != nullptr) std::ranges::fill(factor_D, all.scale_T[t]);
      run_vectorised<BackwardRowLoop>(width, all.grad_TD + t * width, kept_TD + t * width, factor_D.data(),
                                      all.weight_D, all.scale_T[t], grad_x_TD + t * width,
                                      partial_BD.data() + t / kRowsOfBlock * width);
    }
  });
  const auto columns = static_cast<size_t>(width);
  for (size_t first = 0; first < partial_BD.size(); first += columns) {
    for (size_t d = 0; d < columns; ++d) total_D[d] += partial_BD[first + d];
  }
  for (size_t d = 0; d < columns; ++d) grad_weight_D[d] = total_D[d];
}

template void rms_norm(const float*, const float*, int64_t, int64_t, double, float*, float*);
template void rms_norm_backward(const RmsNormBackward<float>&, float*, float*);
template void rms_norm(const double*, const double*, int64_t, int64_t, double, double*, double*);
template void rms_norm_backward(const RmsNormBackward<double>&, double*, double*);
template void rms_norm(const Bfloat16*, const Bfloat16*, int64_t, int64_t, double, Bfloat16*, float*);
template void rms_norm_backward(const RmsNormBackward<Bfloat16>&, Bfloat16*, Bfloat16*);

}  // namespace parallel
