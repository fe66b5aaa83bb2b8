#include "parallel/kernels/activations.h"

#include "parallel/kernels/bfloat16.h"
#include "parallel/kernels/curves.h"
#include "parallel/kernels/processor.h"

namespace parallel {
namespace {

struct SwigluLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t count, const Scalar* gate, const Scalar* up, Scalar* out) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const Wide<Scalar> x = gate[i], y = up[i];
      out[i] = x * sigmoid(x) * y;
    }
  }
};

struct SwigluBackwardLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t count, const Scalar* grad_out, const Scalar* gate, const Scalar* up,
                                         Scalar* grad_gate, Scalar* grad_up) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const Wide<Scalar> grad = grad_out[i], x = gate[i], y = up[i], s = sigmoid(x), one = 1;
      grad_gate[i] = grad * y * s * (one + x * (one - s));
      grad_up[i] = grad * x * s;
    }
  }
};

struct SwigluAgainLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t count, const Scalar* grad_out, const Scalar* gate, const Scalar* up,
                                         Scalar* grad_gate, Scalar* grad_up, Scalar* out) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const Wide<Scalar> grad = grad_out[i], x = gate[i], y = up[i], s = sigmoid(x), one = 1;
      out[i] = x * s * y;
      grad_gate[i] = grad * y * s * (one + x * (one - s));
      grad_up[i] = grad * x * s;
    }
  }
};

struct GeluLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t count, const Scalar* x, Scalar* out) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const Wide<Scalar> at = x[i];
      out[i] = at * normal_curve(at).below;
    }
  }
};

struct GeluBackwardLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t count, const Scalar* grad_out, const Scalar* x, Scalar* grad_x) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const Wide<Scalar> at = x[i], grad = grad_out[i];
      const NormalCurve<Wide<Scalar>> normal = normal_curve(at);
      grad_x[i] = grad * (normal.below + at * normal.density);
    }
  }
};

struct SwigluWeightedLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, Wide<Scalar> weight, const Scalar* grad_out, const Scalar* gate,
                                         const Scalar* up, Scalar* grad_gate, Scalar* grad_up, Scalar* out,
                                         Scalar* grad_weight) {
    Wide<Scalar> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) {
      const Wide<Scalar> grad = grad_out[i], x = gate[i], y = up[i], s = sigmoid(x), one = 1;
      const Wide<Scalar> hidden = x * s * y, weighted = weight * grad;
      sum += hidden * grad;
      out[i] = weight * hidden;
      grad_gate[i] = weighted * y * s * (one + x * (one - s));
      grad_up[i] = weighted * x * s;
    }
    *grad_weight = sum;
  }
};

/// Of an activation of one number: its value, and its slope at x.
template <class Curve>
struct CurveWeightedLoop {
  template <class Scalar>
  [[gnu::always_inline]] static void run(int64_t width, Wide<Scalar> weight, const Scalar* grad_out, const Scalar* x,
                                         Scalar* grad_x, Scalar* out, Scalar* grad_weight) {
    Wide<Scalar> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) {
      const Wide<Scalar> grad = grad_out[i], at = x[i], value = Curve::value(at), slope = Curve::slope(at);
      sum += value * grad;
      out[i] = weight * value;
      grad_x[i] = weight * grad * slope;
    }
    *grad_weight = sum;
  }
};

struct GeluCurve {
  template <class Number>
  [[gnu::always_inline]] static Number value(Number x) {
    return x * normal_curve(x).below;
  }
  template <class Number>
  [[gnu::always_inline]] static Number slope(Number x) {
    const NormalCurve<Number> normal = normal_curve(x);
    return normal.below + x * normal.density;
  }
};

struct ReluCurve {
  template <class Number>
  [[gnu::always_inline]] static Number value(Number x) {
    return x < Number(0) ? Number(0) : x;
  }
  template <class Number>
  [[gnu::always_inline]] static Number slope(Number x) {
    return x <= Number(0) ? Number(0) : Number(1);
  }
};

/// Loop over all numbers, a range a thread. The pointers are moved to its beginning.
template <class Loop, class... Pointers>
void sweep(int64_t count, Pointers... pointers) {
  over_threads(count, kNumbersOfThread,
               [&](int64_t begin, int64_t end) { run_vectorised<Loop>(end - begin, (pointers + begin)...); });
}

/// Loop over each row.
template <class Loop, class Scalar, class... Pointers>
void sweep_rows(const WeightedOutputs<Scalar>& all, Pointers... pointers) {
  over_threads(all.rows, rows_of_thread(all.width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = r * all.width;
      run_vectorised<Loop>(all.width, Wide<Scalar>(all.weight_R[r]), all.grad_RF + first, (pointers + first)...,
                           all.out_RF + first, all.grad_weight_R + r);
    }
  });
}

}  // namespace

template <class Scalar>
void swiglu(int64_t count, const Scalar* gate, const Scalar* up, Scalar* out) {
  sweep<SwigluLoop>(count, gate, up, out);
}

template <class Scalar>
void swiglu_backward(int64_t count, const Scalar* grad_out, const Scalar* gate, const Scalar* up, Scalar* grad_gate,
                     Scalar* grad_up) {
  sweep<SwigluBackwardLoop>(count, grad_out, gate, up, grad_gate, grad_up);
}

template <class Scalar>
void swiglu_again(int64_t count, const Scalar* grad_out, const Scalar* gate, const Scalar* up, Scalar* grad_gate,
                  Scalar* grad_up, Scalar* out) {
  sweep<SwigluAgainLoop>(count, grad_out, gate, up, grad_gate, grad_up, out);
}

template <class Scalar>
void gelu(int64_t count, const Scalar* x, Scalar* out) {
  sweep<GeluLoop>(count, x, out);
}

template <class Scalar>
void gelu_backward(int64_t count, const Scalar* grad_out, const Scalar* x, Scalar* grad_x) {
  sweep<GeluBackwardLoop>(count, grad_out, x, grad_x);
}

template <class Scalar>
void swiglu_weighted_again(const WeightedOutputs<Scalar>& all, const Scalar* gate, const Scalar* up, Scalar* grad_gate,
                           Scalar* grad_up) {
  sweep_rows<SwigluWeightedLoop>(all, gate, up, grad_gate, grad_up);
}

template <class Scalar>
void gelu_weighted_again(const WeightedOutputs<Scalar>& all, const Scalar* x, Scalar* grad_x) {
  sweep_rows<CurveWeightedLoop<GeluCurve>>(all, x, grad_x);
}

template <class Scalar>
void relu_weighted_again(const WeightedOutputs<Scalar>& all, const Scalar* x, Scalar* grad_x) {
  sweep_rows<CurveWeightedLoop<ReluCurve>>(all, x, grad_x);
}

template void swiglu(int64_t, const float*, const float*, float*);
template void swiglu_backward(int64_t, const float*, const float*, const float*, float*, float*);
template void swiglu_again(int64_t, const float*, const float*, const float*, float*, float*, float*);
template void gelu(int64_t, const float*, float*);
template void gelu_backward(int64_t, const float*, const float*, float*);
template void swiglu(int64_t, const double*, const double*, double*);
template void swiglu_backward(int64_t, const double*, const double*, const double*, double*, double*);
template void swiglu_again(int64_t, const double*, const double*, const double*, double*, double*, double*);
template void gelu(int64_t, const double*, double*);
template void gelu_backward(int64_t, const double*, const double*, double*);
template void swiglu(int64_t, const Bfloat16*, const Bfloat16*, Bfloat16*);
template void swiglu_backward(int64_t, const Bfloat16*, const Bfloat16*, const Bfloat16*, Bfloat16*, Bfloat16*);
template void swiglu_again(int64_t, const Bfloat16*, const Bfloat16*, const Bfloat16*, Bfloat16*, Bfloat16*, Bfloat16*);
template void gelu(int64_t, const Bfloat16*, Bfloat16*);
template void gelu_backward(int64_t, const Bfloat16*, const Bfloat16*, Bfloat16*);
template void swiglu_weighted_again(const WeightedOutputs<float>&, const float*, const float*, float*, float*);
template void gelu_weighted_again(const WeightedOutputs<float>&, const float*, float*);
template void relu_weighted_again(const WeightedOutputs<float>&, const float*, float*);
template void swiglu_weighted_again(const WeightedOutputs<double>&, const double*, const double*, double*, double*);
template void gelu_weighted_again(const WeightedOutputs<double>&, const double*, double*);
template void relu_weighted_again(const WeightedOutputs<double>&, const double*, double*);
template void swiglu_weighted_again(const WeightedOutputs<Bfloat16>&, const Bfloat16*, const Bfloat16*, Bfloat16*,
                                    Bfloat16*);
template void gelu_weighted_again(const WeightedOutputs<Bfloat16>&, const Bfloat16*, Bfloat16*);
template void relu_weighted_again(const WeightedOutputs<Bfloat16>&, const Bfloat16*, Bfloat16*);

}  // namespace parallel
