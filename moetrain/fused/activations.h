// defines: swiglu, Clamps, clamped_swiglu, swiglu_out, swiglu_backward_out, swiglu_again_, exact_gelu_out,
// exact_gelu_backward_out
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

}  // namespace moetrain
