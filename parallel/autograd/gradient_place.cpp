#include "parallel/autograd/gradient_place.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/variable.h>

namespace parallel {

at::Tensor gradient_place(const at::Tensor& parameter, GradientWidth width) {
  if (!parameter.is_leaf() || !parameter.requires_grad()) return {};
  auto* const gathers = dynamic_cast<GradientPlace*>(torch::autograd::impl::post_acc_grad_hooks(parameter).get());
  return gathers != nullptr ? gathers->take(width) : at::Tensor();
}

at::Tensor empty_gradient(const at::Tensor& parameter, GradientWidth width) {
  at::Tensor place = gradient_place(parameter, width);
  if (place.defined()) return place;
  return at::empty_like(parameter, at::TensorOptions().requires_grad(false));
}

}  // namespace parallel
