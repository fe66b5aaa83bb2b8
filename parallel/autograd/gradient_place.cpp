#include "parallel/autograd/gradient_place.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/variable.h>

namespace parallel {

at::Tensor empty_gradient(const at::Tensor& parameter) {
  if (parameter.is_leaf() && parameter.requires_grad()) {
    auto* const gathers = dynamic_cast<GradientPlace*>(torch::autograd::impl::post_acc_grad_hooks(parameter).get());
    at::Tensor place = gathers != nullptr ? gathers->take() : at::Tensor();
    if (place.defined()) return place;
  }
  return at::empty_like(parameter, at::TensorOptions().requires_grad(false));
}

}  // namespace parallel
