#include "moetrain/fused/activations.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <torch/csrc/autograd/custom_function.h>

#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/device/kernel_call.h"
#include "parallel/kernels/activations.h"

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

template <class... Tensors>
bool alike(const at::Tensor& first, const Tensors&... others) {
  return first.is_contiguous() &&
         ((others.is_contiguous() && others.sizes() == first.sizes() && others.scalar_type() == first.scalar_type()) &&
          ...);
}

template <class... Tensors>
bool swept(const at::Tensor& first, const Tensors&... others) {
  return parallel::has_loops(first) && alike(first, others...);
}

/// Null where LibTorch's operations are to do it.
template <class... Tensors>
const parallel::DeviceKernels* kernels_for(const at::Tensor& first, const Tensors&... others) {
  return alike(first, others...) ? parallel::kernels_of(first) : nullptr;
}

/// What is multiplied, and where its gradients go: perhaps over it.
struct SwigluGradients {
  const at::Tensor &grad_hidden, &gate, &up;
  at::Tensor &grad_gate, &grad_up;
};

/// `hidden`: where what swiglu makes is wanted once more.
void backward_by_kernel(const parallel::DeviceKernels& kernels, const SwigluGradients& all, void* hidden = nullptr) {
  parallel::call(kernels.swiglu_backward,
                 {.element = parallel::element_of(all.gate),
                  .count = all.gate.numel(),
                  .grad_out = all.grad_hidden.const_data_ptr(),
                  .gate = all.gate.const_data_ptr(),
                  .up = all.up.const_data_ptr(),
                  .grad_gate = all.grad_gate.mutable_data_ptr(),
                  .grad_up = all.grad_up.mutable_data_ptr(),
                  .hidden = hidden},
                 all.gate.device());
}

void composed_backward(const SwigluGradients& all) {
  const at::Tensor grad_silu = all.grad_hidden * all.up;
  at::silu_out(all.grad_up, all.gate).mul_(all.grad_hidden);
  at::silu_backward_out(all.grad_gate, grad_silu, all.gate);
}

bool swept(const WeightedHidden& all, const at::Tensor& first, const at::Tensor& other) {
  return swept(first, other, all.hidden_RF, all.grad_RF) && alike(all.weight_R, all.grad_weight_R) &&
         all.weight_R.scalar_type() == first.scalar_type();
}

template <class Scalar>
parallel::WeightedOutputs<Scalar> weighted_outputs(const WeightedHidden& all) {
  return {.rows = all.hidden_RF.size(0),
          .width = all.hidden_RF.size(1),
          .weight_R = parallel::data_of<Scalar>(all.weight_R),
          .grad_RF = parallel::data_of<Scalar>(all.grad_RF),
          .out_RF = parallel::mutable_data_of<Scalar>(all.hidden_RF),
          .grad_weight_R = parallel::mutable_data_of<Scalar>(all.grad_weight_R)};
}

/// By LibTorch: value(hidden), then backward(the gradient, weighted).
template <class Value, class Backward>
void composed_weighted(const WeightedHidden& all, const Value& value, const Backward& backward) {
  at::Tensor hidden_RF = all.hidden_RF;
  value(hidden_RF);
  const auto wide = at::toOpMathType(hidden_RF.scalar_type());
  all.grad_weight_R.copy_((hidden_RF.to(wide) * all.grad_RF.to(wide)).sum(1));
  const at::Tensor weight_R1 = all.weight_R.unsqueeze(1);
  backward(all.grad_RF * weight_R1);
  hidden_RF.mul_(weight_R1);
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

/// Of a device that has kernels for it.
class ClampedSwigluFunction : public torch::autograd::Function<ClampedSwigluFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& gate, const Variable& up, double limit,
                          double slope) {
    context->save_for_backward({gate, up});
    context->saved_data["limit"] = limit;
    context->saved_data["slope"] = slope;
    at::Tensor hidden = at::empty_like(gate);
    parallel::call(parallel::kernels_of(gate)->clamped_swiglu,
                   {.element = parallel::element_of(gate),
                    .count = gate.numel(),
                    .limit = limit,
                    .slope = slope,
                    .gate = gate.const_data_ptr(),
                    .up = up.const_data_ptr(),
                    .out = hidden.mutable_data_ptr()},
                   gate.device());
    return hidden;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    parallel::check_internal(!at::GradMode::is_enabled(), "clamped_swiglu: no second derivative");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor grad = grad_outputs[0].contiguous();
    at::Tensor grad_gate = at::empty_like(saved[0]), grad_up = at::empty_like(saved[1]);
    parallel::call(parallel::kernels_of(grad)->clamped_swiglu_backward,
                   {.element = parallel::element_of(grad),
                    .count = grad.numel(),
                    .limit = context->saved_data["limit"].toDouble(),
                    .slope = context->saved_data["slope"].toDouble(),
                    .grad_out = grad.const_data_ptr(),
                    .gate = saved[0].const_data_ptr(),
                    .up = saved[1].const_data_ptr(),
                    .grad_gate = grad_gate.mutable_data_ptr(),
                    .grad_up = grad_up.mutable_data_ptr()},
                   grad.device());
    return {grad_gate, grad_up, {}, {}};
  }
};

}  // namespace

at::Tensor clamped_swiglu(const at::Tensor& gate, const at::Tensor& up, const Clamps& clamps) {
  if (kernels_for(gate, up) != nullptr) return ClampedSwigluFunction::apply(gate, up, clamps.limit, clamps.slope);
  const at::Tensor gate_held = gate.clamp_max(clamps.limit), up_held = up.clamp(-clamps.limit, clamps.limit);
  return (up_held + 1) * gate_held * at::sigmoid(gate_held * clamps.slope);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (at::GradMode::is_enabled()) return SwigluFunction::apply(gate, up);
  at::Tensor hidden = at::empty_like(gate);
  swiglu_out(hidden, gate, up);
  return hidden;
}

void swiglu_out(at::Tensor& hidden, const at::Tensor& gate, const at::Tensor& up) {
  if (const auto* kernels = kernels_for(hidden, gate, up)) {
    parallel::call(kernels->swiglu,
                   {.element = parallel::element_of(gate),
                    .count = gate.numel(),
                    .gate = gate.const_data_ptr(),
                    .up = up.const_data_ptr(),
                    .out = hidden.mutable_data_ptr()},
                   gate.device());
    return;
  }
  if (!swept(hidden, gate, up)) {
    at::silu_out(hidden, gate).mul_(up);
    return;
  }
  parallel::with_loops(gate.scalar_type(), [&]<class Scalar>() {
    parallel::swiglu(gate.numel(), parallel::data_of<Scalar>(gate), parallel::data_of<Scalar>(up),
                     parallel::mutable_data_of<Scalar>(hidden));
  });
}

void swiglu_backward_out(at::Tensor& grad_gate, at::Tensor& grad_up, const at::Tensor& grad_hidden,
                         const at::Tensor& gate, const at::Tensor& up) {
  const SwigluGradients all{grad_hidden, gate, up, grad_gate, grad_up};
  if (const auto* kernels = kernels_for(grad_gate, grad_up, grad_hidden, gate, up))
    return backward_by_kernel(*kernels, all);
  if (!swept(grad_gate, grad_up, grad_hidden, gate, up)) return composed_backward(all);
  parallel::with_loops(gate.scalar_type(), [&]<class Scalar>() {
    parallel::swiglu_backward(gate.numel(), parallel::data_of<Scalar>(grad_hidden), parallel::data_of<Scalar>(gate),
                              parallel::data_of<Scalar>(up), parallel::mutable_data_of<Scalar>(grad_gate),
                              parallel::mutable_data_of<Scalar>(grad_up));
  });
}

void swiglu_again_(at::Tensor& gate, at::Tensor& up, at::Tensor& hidden, const at::Tensor& grad_hidden) {
  const SwigluGradients all{grad_hidden, gate, up, gate, up};
  if (const auto* kernels = kernels_for(gate, up, hidden, grad_hidden))
    return backward_by_kernel(*kernels, all, hidden.mutable_data_ptr());
  if (!swept(gate, up, hidden, grad_hidden)) {
    swiglu_out(hidden, gate, up);
    return composed_backward(all);
  }
  parallel::with_loops(gate.scalar_type(), [&]<class Scalar>() {
    auto *const of_gate = parallel::mutable_data_of<Scalar>(gate), *const of_up = parallel::mutable_data_of<Scalar>(up);
    parallel::swiglu_again<Scalar>(gate.numel(), parallel::data_of<Scalar>(grad_hidden), of_gate, of_up, of_gate, of_up,
                                   parallel::mutable_data_of<Scalar>(hidden));
  });
}

void swiglu_weighted_again_(at::Tensor& gate, at::Tensor& up, const WeightedHidden& all) {
  if (!swept(all, gate, up)) {
    return composed_weighted(
        all, [&](at::Tensor& hidden) { swiglu_out(hidden, gate, up); },
        [&](const at::Tensor& grad) {
          composed_backward({grad, gate, up, gate, up});
        });
  }
  parallel::with_loops(gate.scalar_type(), [&]<class Scalar>() {
    auto *const of_gate = parallel::mutable_data_of<Scalar>(gate), *const of_up = parallel::mutable_data_of<Scalar>(up);
    parallel::swiglu_weighted_again<Scalar>(weighted_outputs<Scalar>(all), of_gate, of_up, of_gate, of_up);
  });
}

void exact_gelu_out(at::Tensor& out, const at::Tensor& input) {
  if (const auto* kernels = kernels_for(out, input)) {
    parallel::call(kernels->gelu,
                   {.element = parallel::element_of(input),
                    .count = input.numel(),
                    .input = input.const_data_ptr(),
                    .out = out.mutable_data_ptr()},
                   input.device());
    return;
  }
  if (!swept(out, input)) {
    at::gelu_out(out, input);
    return;
  }
  parallel::with_loops(input.scalar_type(), [&]<class Scalar>() {
    parallel::gelu(input.numel(), parallel::data_of<Scalar>(input), parallel::mutable_data_of<Scalar>(out));
  });
}

void exact_gelu_backward_out(at::Tensor& grad_input, const at::Tensor& grad_out, const at::Tensor& input) {
  if (const auto* kernels = kernels_for(grad_input, grad_out, input)) {
    parallel::call(kernels->gelu_backward,
                   {.element = parallel::element_of(input),
                    .count = input.numel(),
                    .grad_out = grad_out.const_data_ptr(),
                    .input = input.const_data_ptr(),
                    .grad_input = grad_input.mutable_data_ptr()},
                   input.device());
    return;
  }
  if (!swept(grad_input, grad_out, input)) {
    at::gelu_backward_out(grad_input, grad_out, input);
    return;
  }
  parallel::with_loops(input.scalar_type(), [&]<class Scalar>() {
    parallel::gelu_backward(input.numel(), parallel::data_of<Scalar>(grad_out), parallel::data_of<Scalar>(input),
                            parallel::mutable_data_of<Scalar>(grad_input));
  });
}

void exact_gelu_weighted_again_(at::Tensor& input, const WeightedHidden& all) {
  if (!swept(all, input, input)) {
    return composed_weighted(
        all, [&](at::Tensor& hidden) { exact_gelu_out(hidden, input); },
        [&](const at::Tensor& grad) { exact_gelu_backward_out(input, grad, input); });
  }
  parallel::with_loops(input.scalar_type(), [&]<class Scalar>() {
    auto* const of_input = parallel::mutable_data_of<Scalar>(input);
    parallel::gelu_weighted_again<Scalar>(weighted_outputs<Scalar>(all), of_input, of_input);
  });
}

void relu_weighted_again_(at::Tensor& input, const WeightedHidden& all) {
  if (!swept(all, input, input)) {
    return composed_weighted(
        all, [&](at::Tensor& hidden) { at::relu_out(hidden, input); },
        [&](const at::Tensor& grad) { at::threshold_backward_out(input, grad, input, 0); });
  }
  parallel::with_loops(input.scalar_type(), [&]<class Scalar>() {
    auto* const of_input = parallel::mutable_data_of<Scalar>(input);
    parallel::relu_weighted_again<Scalar>(weighted_outputs<Scalar>(all), of_input, of_input);
  });
}

}  // namespace moetrain
