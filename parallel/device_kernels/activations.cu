// Activations of a feed-forward: one sweep over memory each, a piece a thread.
#include "parallel/device_kernels/launches.h"
#include "parallel/device_kernels/pieces.cuh"

namespace parallel {
namespace on_device {
namespace {

constexpr unsigned kThreads = 256;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/// The probability of less than x, relatively exact in the tail, and the density there.
__device__ __forceinline__ float normal_below(float x) { return 0.5f * erfcf(x * -0.70710678f); }
__device__ __forceinline__ double normal_below(double x) { return 0.5 * erfc(x * -0.70710678118654752440); }
__device__ __forceinline__ float normal_density(float x) { return 0.39894228f * expf(-0.5f * x * x); }
__device__ __forceinline__ double normal_density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

template <class Number>
struct SwigluSweep {
  const Number *gate, *up;
  Number* out;

  template <int kNumbers>
  __device__ __forceinline__ void run(int64_t at) const {
    const auto x = loaded<kNumbers>(gate + at), y = loaded<kNumbers>(up + at);
    Piece<Number, kNumbers> product;
    for (int i = 0; i < kNumbers; ++i) {
      const auto g = widened(x.at[i]);
      product.at[i] = narrowed<Number>(g * sigmoid(g) * widened(y.at[i]));
    }
    store(out + at, product);
  }
};

template <class Number>
struct SwigluBackwardSweep {
  const Number *grad_out, *gate, *up;
  Number *grad_gate, *grad_up, *hidden;

  template <int kNumbers>
  __device__ __forceinline__ void run(int64_t at) const {
    const auto above = loaded<kNumbers>(grad_out + at), x = loaded<kNumbers>(gate + at), y = loaded<kNumbers>(up + at);
    Piece<Number, kNumbers> of_gate, of_up, product;
    for (int i = 0; i < kNumbers; ++i) {
      const auto grad = widened(above.at[i]), g = widened(x.at[i]), s = sigmoid(g);
      of_gate.at[i] = narrowed<Number>(grad * widened(y.at[i]) * s * (1 + g * (1 - s)));
      of_up.at[i] = narrowed<Number>(grad * g * s);
      product.at[i] = narrowed<Number>(g * s * widened(y.at[i]));
    }
    store(grad_gate + at, of_gate);
    store(grad_up + at, of_up);
    if (hidden != nullptr) store(hidden + at, product);
  }
};

/// Not a number stays none.
template <class Real>
__device__ __forceinline__ Real at_most(Real x, Real limit) {
  return x > limit ? limit : x;
}

template <class Number>
struct ClampedSwigluSweep {
  const Number *gate, *up;
  Number* out;
  Computed<Number> limit, slope;

  template <int kNumbers>
  __device__ __forceinline__ void run(int64_t at) const {
    const auto x = loaded<kNumbers>(gate + at), y = loaded<kNumbers>(up + at);
    Piece<Number, kNumbers> product;
    for (int i = 0; i < kNumbers; ++i) {
      const auto g = at_most(widened(x.at[i]), limit), u = -at_most(-at_most(widened(y.at[i]), limit), limit);
      product.at[i] = narrowed<Number>((u + 1) * g * sigmoid(slope * g));
    }
    store(out + at, product);
  }
};

template <class Number>
struct ClampedSwigluBackwardSweep {
  const Number *grad_out, *gate, *up;
  Number *grad_gate, *grad_up;
  Computed<Number> limit, slope;

  template <int kNumbers>
  __device__ __forceinline__ void run(int64_t at) const {
    const auto above = loaded<kNumbers>(grad_out + at), x = loaded<kNumbers>(gate + at), y = loaded<kNumbers>(up + at);
    Piece<Number, kNumbers> of_gate, of_up;
    for (int i = 0; i < kNumbers; ++i) {
      const auto grad = widened(above.at[i]), given_g = widened(x.at[i]), given_u = widened(y.at[i]);
      const auto g = at_most(given_g, limit), u = -at_most(-at_most(given_u, limit), limit), s = sigmoid(slope * g);
      const bool held_g = given_g > limit, held_u = given_u > limit || given_u < -limit;
      of_gate.at[i] = narrowed<Number>(held_g ? 0 : grad * (u + 1) * s * (1 + slope * g * (1 - s)));
      of_up.at[i] = narrowed<Number>(held_u ? 0 : grad * g * s);
    }
    store(grad_gate + at, of_gate);
    store(grad_up + at, of_up);
  }
};

template <class Number>
struct GeluSweep {
  const Number* input;
  Number* out;

  template <int kNumbers>
  __device__ __forceinline__ void run(int64_t at) const {
    const auto x = loaded<kNumbers>(input + at);
    Piece<Number, kNumbers> value;
    for (int i = 0; i < kNumbers; ++i) {
      value.at[i] = narrowed<Number>(widened(x.at[i]) * normal_below(widened(x.at[i])));
    }
    store(out + at, value);
  }
};

template <class Number>
struct GeluBackwardSweep {
  const Number *grad_out, *input;
  Number* grad_input;

  template <int kNumbers>
  __device__ __forceinline__ void run(int64_t at) const {
    const auto above = loaded<kNumbers>(grad_out + at), x = loaded<kNumbers>(input + at);
    Piece<Number, kNumbers> slope;
    for (int i = 0; i < kNumbers; ++i) {
      const auto here = widened(x.at[i]);
      slope.at[i] = narrowed<Number>(widened(above.at[i]) * (normal_below(here) + here * normal_density(here)));
    }
    store(grad_input + at, slope);
  }
};

/// A piece a thread, then a number a thread of what is left over.
template <int kNumbers, class Sweep>
__global__ void __launch_bounds__(kThreads) sweep_kernel(Sweep sweep, int64_t count) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, pieces = count / kNumbers;
  if (thread < pieces) {
    sweep.template run<kNumbers>(thread * kNumbers);
  } else if (thread - pieces < count - pieces * kNumbers) {
    sweep.template run<1>(pieces * kNumbers + thread - pieces);
  }
}

template <class Number, class Sweep>
const char* swept(const Sweep& sweep, int64_t count, bool whole, DeviceStream stream) {
  constexpr int kNumbers = kNumbersOfPiece<Number>;
  if (!whole) return launch(sweep_kernel<1, Sweep>, parts(count, kThreads), kThreads, stream, sweep, count);
  const int64_t threads = count / kNumbers + count % kNumbers;
  return launch(sweep_kernel<kNumbers, Sweep>, parts(threads, kThreads), kThreads, stream, sweep, count);
}

}  // namespace

const char* swiglu(const Swiglu& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    const SwigluSweep<Number> sweep{static_cast<const Number*>(all.gate), static_cast<const Number*>(all.up),
                                    static_cast<Number*>(all.out)};
    return swept<Number>(sweep, all.count, whole_pieces<Number>(0, all.gate, all.up, all.out), stream);
  });
}

const char* swiglu_backward(const SwigluBackward& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    const SwigluBackwardSweep<Number> sweep{
        static_cast<const Number*>(all.grad_out), static_cast<const Number*>(all.gate),
        static_cast<const Number*>(all.up),       static_cast<Number*>(all.grad_gate),
        static_cast<Number*>(all.grad_up),        static_cast<Number*>(all.hidden)};
    const bool whole = whole_pieces<Number>(0, all.grad_out, all.gate, all.up, all.grad_gate, all.grad_up, all.hidden);
    return swept<Number>(sweep, all.count, whole, stream);
  });
}

const char* clamped_swiglu(const ClampedSwiglu& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    const ClampedSwigluSweep<Number> sweep{static_cast<const Number*>(all.gate), static_cast<const Number*>(all.up),
                                           static_cast<Number*>(all.out), static_cast<Computed<Number>>(all.limit),
                                           static_cast<Computed<Number>>(all.slope)};
    return swept<Number>(sweep, all.count, whole_pieces<Number>(0, all.gate, all.up, all.out), stream);
  });
}

const char* clamped_swiglu_backward(const ClampedSwigluBackward& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    const ClampedSwigluBackwardSweep<Number> sweep{
        static_cast<const Number*>(all.grad_out), static_cast<const Number*>(all.gate),
        static_cast<const Number*>(all.up),       static_cast<Number*>(all.grad_gate),
        static_cast<Number*>(all.grad_up),        static_cast<Computed<Number>>(all.limit),
        static_cast<Computed<Number>>(all.slope)};
    const bool whole = whole_pieces<Number>(0, all.grad_out, all.gate, all.up, all.grad_gate, all.grad_up);
    return swept<Number>(sweep, all.count, whole, stream);
  });
}

const char* gelu(const Gelu& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    const GeluSweep<Number> sweep{static_cast<const Number*>(all.input), static_cast<Number*>(all.out)};
    return swept<Number>(sweep, all.count, whole_pieces<Number>(0, all.input, all.out), stream);
  });
}

const char* gelu_backward(const GeluBackward& all, DeviceStream stream) {
  return with_element(all.element, [&](auto* number) {
    using Number = std::remove_pointer_t<decltype(number)>;
    const GeluBackwardSweep<Number> sweep{static_cast<const Number*>(all.grad_out),
                                          static_cast<const Number*>(all.input), static_cast<Number*>(all.grad_input)};
    return swept<Number>(sweep, all.count, whole_pieces<Number>(0, all.grad_out, all.input, all.grad_input), stream);
  });
}

}  // namespace on_device
}  // namespace parallel
