// defines: swiglu, swiglu_backward, swiglu_again, gelu, gelu_backward, WeightedOutputs, swiglu_weighted_again,
// gelu_weighted_again, relu_weighted_again: activations of a feed-forward, each in one sweep
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

/// Rows of an activation's outputs, one after another, of which each has a weight that was multiplied in later: what
/// came of it is linear in the output, so that the gradient of the output where the weight is 1 says all. The weight's
/// own is <output, that gradient>, for which nothing is divided by a weight: it may be 0.
template <class Scalar>
struct WeightedOutputs {
  int64_t rows, width;
  const Scalar* weight_R;
  const Scalar* grad_RF;  // of the output, where the weight is 1
  Scalar* out_RF;         // to be written: the weight times the output
  Scalar* grad_weight_R;  // to be written
};

/// Backward, with the weight, and the output once more. A row's numbers are added up in an order of their own, whatever
/// stands beside it.
template <class Scalar>
void swiglu_weighted_again(const WeightedOutputs<Scalar>& all, const Scalar* gate, const Scalar* up, Scalar* grad_gate,
                           Scalar* grad_up);
template <class Scalar>
void gelu_weighted_again(const WeightedOutputs<Scalar>& all, const Scalar* x, Scalar* grad_x);
/// out = max(x, 0), whose slope at 0 is 0.
template <class Scalar>
void relu_weighted_again(const WeightedOutputs<Scalar>& all, const Scalar* x, Scalar* grad_x);

}  // namespace parallel
