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

/// Of tensors for which there are loops.
class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& weight_D, double epsilon) {
    const at::Tensor scale_T = at::empty({x.numel() / std::max<int64_t>(1, weight_D.numel())},
                                         x.options().dtype(at::toOpMathType(x.scalar_type())));
    at::Tensor y = normed(x, weight_D, epsilon, scale_T);
    context->save_for_backward({x, weight_D, scale_T});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    parallel::check_internal(!at::GradMode::is_enabled(), "rms_norm: no second derivative");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor grad_TD = grad_outputs[0].contiguous(), x_TD = saved[0].contiguous(),
                     weight = saved[1].contiguous();
    const at::Tensor grad_x_TD = at::empty_like(x_TD), grad_weight = at::empty_like(weight);
    parallel::with_loops(x_TD.scalar_type(), [&]<class Scalar>() {
      const parallel::RmsNormBackward<Scalar> all{.grad_TD = parallel::data_of<Scalar>(grad_TD),
                                                  .x_TD = parallel::data_of<Scalar>(x_TD),
                                                  .weight_D = parallel::data_of<Scalar>(weight),
                                                  .scale_T = saved[2].const_data_ptr<parallel::Wide<Scalar>>(),
                                                  .rows = saved[2].numel(),
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
