// defines: swiglu, swiglu_backward, swiglu_again, gelu, gelu_backward: activations of a feed-forward, each in one sweep
#pragma once
#include <cstdint>

namespace parallel {

// For float, double and Bfloat16 (parallel/kernels/bfloat16.h). Of `count` numbers; an output may be one of the inputs.

/// out = silu(gate) up, silu(x) = x sigmoid(x) (Shazeer 2020).
template <class Scalar>
void swiglu(int64_t count, const Scalar* gate, const Scalar* up, Scalar* out);
template <class Scalar>
void swiglu_backward(int64_t count, const Scalar* grad_out, const Scalar* gate, const Scalar* up, Scalar* grad_gate,
                     Scalar* grad_up);
/// The same, and its output once more, which then need not be kept: to the bit what forward gave.
template <class Scalar>
void swiglu_again(int64_t count, const Scalar* grad_out, const Scalar* gate, const Scalar* up, Scalar* grad_gate,
                  Scalar* grad_up, Scalar* out);

/// out = x P(normal < x), the exact one (Hendrycks and Gimpel 2016).
template <class Scalar>
void gelu(int64_t count, const Scalar* x, Scalar* out);
template <class Scalar>
void gelu_backward(int64_t count, const Scalar* grad_out, const Scalar* x, Scalar* grad_x);

}  // namespace parallel
