#include "moetrain/fused/activations.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/custom_function.h>

#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/activations.h"

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

template <class... Tensors>
bool swept(const at::Tensor& first, const Tensors&... others) {
  return parallel::has_loops(first) && first.is_contiguous() && (others.is_contiguous() && ...);
}

class SwigluFunction : public torch::autograd::Function<SwigluFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& gate, const Variable& up) {
    context->save_for_backward({gate, up});
    at::Tensor hidden = at::empty_like(gate);
    swiglu_out(hidden, gate, up);
    return hidden;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    parallel::check_internal(!at::GradMode::is_enabled(), "swiglu: no second derivative");
    const variable_list saved = context->get_saved_variables();
    at::Tensor grad_gate = at::empty_like(saved[0]), grad_up = at::empty_like(saved[1]);
    swiglu_backward_out(grad_gate, grad_up, grad_outputs[0].contiguous(), saved[0], saved[1]);
    return {grad_gate, grad_up};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return SwigluFunction::apply(gate, up); }

void swiglu_out(at::Tensor& hidden, const at::Tensor& gate, const at::Tensor& up) {
  if (!swept(hidden, gate, up)) {
    at::silu_out(hidden, gate).mul_(up);
    return;
  }
  AT_DISPATCH_FLOATING_TYPES(gate.scalar_type(), "swiglu", [&] {
    parallel::swiglu(gate.numel(), gate.const_data_ptr<scalar_t>(), up.const_data_ptr<scalar_t>(),
                     hidden.mutable_data_ptr<scalar_t>());
  });
}

void swiglu_backward_out(at::Tensor& grad_gate, at::Tensor& grad_up, const at::Tensor& grad_hidden,
                         const at::Tensor& gate, const at::Tensor& up) {
  if (!swept(grad_gate, grad_up, grad_hidden, gate, up)) {
    const at::Tensor grad_silu = grad_hidden * up;
    at::silu_out(grad_up, gate).mul_(grad_hidden);
    at::silu_backward_out(grad_gate, grad_silu, gate);
    return;
  }
  AT_DISPATCH_FLOATING_TYPES(gate.scalar_type(), "swiglu_backward", [&] {
    parallel::swiglu_backward(gate.numel(), grad_hidden.const_data_ptr<scalar_t>(), gate.const_data_ptr<scalar_t>(),
                              up.const_data_ptr<scalar_t>(), grad_gate.mutable_data_ptr<scalar_t>(),
                              grad_up.mutable_data_ptr<scalar_t>());
  });
}

void swiglu_again_(at::Tensor& gate, at::Tensor& up, at::Tensor& hidden, const at::Tensor& grad_hidden) {
  if (!swept(gate, up, hidden, grad_hidden)) {
    swiglu_out(hidden, gate, up);
    const at::Tensor grad_silu = grad_hidden * up;
    at::silu_out(up, gate).mul_(grad_hidden);
    at::silu_backward_out(gate, grad_silu, gate);
    return;
  }
  AT_DISPATCH_FLOATING_TYPES(gate.scalar_type(), "swiglu_again", [&] {
    auto *const of_gate = gate.mutable_data_ptr<scalar_t>(), *const of_up = up.mutable_data_ptr<scalar_t>();
    parallel::swiglu_again(gate.numel(), grad_hidden.const_data_ptr<scalar_t>(), of_gate, of_up, of_gate, of_up,
                           hidden.mutable_data_ptr<scalar_t>());
  });
}

void exact_gelu_out(at::Tensor& out, const at::Tensor& input) {
  if (!swept(out, input)) {
    at::gelu_out(out, input);
    return;
  }
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "gelu", [&] {
    parallel::gelu(input.numel(), input.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>());
  });
}

void exact_gelu_backward_out(at::Tensor& grad_input, const at::Tensor& grad_out, const at::Tensor& input) {
  if (!swept(grad_input, grad_out, input)) {
    at::gelu_backward_out(grad_input, grad_out, input);
    return;
  }
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "gelu_backward", [&] {
    parallel::gelu_backward(input.numel(), grad_out.const_data_ptr<scalar_t>(), input.const_data_ptr<scalar_t>(),
                            grad_input.mutable_data_ptr<scalar_t>());
  });
}

}  // namespace moetrain
