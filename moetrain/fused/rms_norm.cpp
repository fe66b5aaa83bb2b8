#include "moetrain/fused/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <torch/csrc/autograd/custom_function.h>

#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/rms_norm.h"

namespace moetrain {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// scale_T: undefined where nobody wants it.
at::Tensor normed(const at::Tensor& x, const at::Tensor& weight_D, double epsilon, const at::Tensor& scale_T) {
  const at::Tensor x_TD = x.contiguous(), y_TD = at::empty_like(x_TD), weight = weight_D.contiguous();
  const int64_t width = weight.numel(), rows = x_TD.numel() / std::max<int64_t>(1, width);
  parallel::with_loops(x.scalar_type(), [&]<class Scalar>() {
    parallel::rms_norm(parallel::data_of<Scalar>(x_TD), parallel::data_of<Scalar>(weight), rows, width, epsilon,
                       parallel::mutable_data_of<Scalar>(y_TD),
                       scale_T.defined() ? scale_T.mutable_data_ptr<parallel::Wide<Scalar>>() : nullptr);
  });
  return y_TD;
}

/// Whether x can be had from the output: not from one of 16 bits, whose rounding x has not.
bool gives_back(const at::Tensor& weight_D) {
  constexpr double kLeast = 1e-12;
  return weight_D.scalar_type() == at::toOpMathType(weight_D.scalar_type()) &&
         (weight_D.numel() == 0 || weight_D.abs().min().item<double>() >= kLeast);
}

/// Of tensors for which there are loops.
class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& weight_D, double epsilon) {
    const at::Tensor scale_T = at::empty({x.numel() / std::max<int64_t>(1, weight_D.numel())},
                                         x.options().dtype(at::toOpMathType(x.scalar_type())));
    at::Tensor y = normed(x, weight_D, epsilon, scale_T);
    const bool by_output = gives_back(weight_D);
    context->save_for_backward({by_output ? at::Tensor() : x, by_output ? y : at::Tensor(), weight_D, scale_T});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    parallel::check_internal(!at::GradMode::is_enabled(), "rms_norm: no second derivative");
    const variable_list saved = context->get_saved_variables();
    const bool by_output = saved[1].defined();
    const at::Tensor grad_TD = grad_outputs[0].contiguous(), kept_TD = saved[by_output ? 1 : 0].contiguous(),
                     weight = saved[2].contiguous();
    const at::Tensor grad_x_TD = at::empty_like(kept_TD), grad_weight = at::empty_like(weight);
    parallel::with_loops(kept_TD.scalar_type(), [&]<class Scalar>() {
      const Scalar* const kept = parallel::data_of<Scalar>(kept_TD);
      const parallel::RmsNormBackward<Scalar> all{.grad_TD = parallel::data_of<Scalar>(grad_TD),
                                                  .x_TD = by_output ? nullptr : kept,
                                                  .y_TD = by_output ? kept : nullptr,
                                                  .weight_D = parallel::data_of<Scalar>(weight),
                                                  .scale_T = saved[3].const_data_ptr<parallel::Wide<Scalar>>(),
                                                  .rows = saved[3].numel(),
                                                  .width = weight.numel()};
      parallel::rms_norm_backward(all, parallel::mutable_data_of<Scalar>(grad_x_TD),
                                  parallel::mutable_data_of<Scalar>(grad_weight));
    });
    return {grad_x_TD, grad_weight, Variable()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double epsilon) {
  const bool swept = parallel::has_loops(x) && x.scalar_type() == weight_D.scalar_type();
  parallel::check_internal(weight_D.dim() == 1 && x.dim() > 0 && x.size(-1) == weight_D.size(0),
                           "rms_norm: ", x.sizes(), " by weights ", weight_D.sizes());
  if (!swept) return at::rms_norm(x, weight_D.sizes(), weight_D, epsilon);
  return at::GradMode::is_enabled() ? RmsNormFunction::apply(x, weight_D, epsilon) : normed(x, weight_D, epsilon, {});
}

}  // namespace moetrain
