// defines: swiglu, Clamps, clamped_swiglu, swiglu_out, swiglu_backward_out, swiglu_again_, exact_gelu_out,
// exact_gelu_backward_out, WeightedHidden, swiglu_weighted_again_, exact_gelu_weighted_again_, relu_weighted_again_
#pragma once
#include <ATen/core/Tensor.h>

namespace moetrain {

// Any shape, all alike. But for swiglu and clamped_swiglu raw (outside autograd); of contiguous tensors an output
// may be an input, of others the gradient that comes in only where one output is made of it.

/// silu(gate) up (Shazeer 2020), differentiable; keeps its inputs.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// (up + 1) gate sigmoid(slope gate), of a gate of at most `limit` and an up within `limit` of 0 (OpenAI 2025,
/// GPT-OSS), differentiable.
struct Clamps {
  double limit, slope;
};
at::Tensor clamped_swiglu(const at::Tensor& gate, const at::Tensor& up, const Clamps& clamps);

void swiglu_out(at::Tensor& hidden, const at::Tensor& gate, const at::Tensor& up);
void swiglu_backward_out(at::Tensor& grad_gate, at::Tensor& grad_up, const at::Tensor& grad_hidden,
                         const at::Tensor& gate, const at::Tensor& up);
/// The gradients take the place of gate and up, and what swiglu_out gave of them stands in `hidden` again.
void swiglu_again_(at::Tensor& gate, at::Tensor& up, at::Tensor& hidden, const at::Tensor& grad_hidden);

/// Not its tanh approximation (Hendrycks and Gimpel 2016).
void exact_gelu_out(at::Tensor& out, const at::Tensor& input);
void exact_gelu_backward_out(at::Tensor& grad_input, const at::Tensor& grad_out, const at::Tensor& input);

/// What an activation gave of R rows, [R, F], where what comes of a row is multiplied by a weight of the row's own
/// (parallel::WeightedOutputs).
struct WeightedHidden {
  at::Tensor hidden_RF;  // to be written: weight times what the activation gave
  at::Tensor grad_RF;    // of what it gave, where weights are 1
  at::Tensor weight_R;
  at::Tensor grad_weight_R;  // to be written: <what it gave, grad>, summed in at least float32, each row by itself
};
/// The gradients, weights multiplied in, take the place of gate and up, or of the input.
void swiglu_weighted_again_(at::Tensor& gate, at::Tensor& up, const WeightedHidden& all);
void exact_gelu_weighted_again_(at::Tensor& input, const WeightedHidden& all);
void relu_weighted_again_(at::Tensor& input, const WeightedHidden& all);

}  // namespace moetrain
