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

/// Loop over all numbers, a range a thread. The pointers are moved to its beginning.
template <class Loop, class... Pointers>
void sweep(int64_t count, Pointers... pointers) {
  over_threads(count, kNumbersOfThread,
               [&](int64_t begin, int64_t end) { run_vectorised<Loop>(end - begin, (pointers + begin)...); });
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

}  // namespace parallel
