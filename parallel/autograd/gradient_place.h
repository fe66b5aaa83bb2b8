// defines: GradientPlace, empty_gradient: where the gradient of a parameter is written
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function_hook.h>

namespace parallel {

/// On a parameter, by whoever gathers gradients: has a place for its next one, which then need not be copied there.
class GradientPlace : public torch::autograd::PostAccumulateGradHook {
 public:
  /// As large as the parameter, nothing in it. Whoever gets it writes every number, and gives it to autograd as a
  /// gradient of this parameter: one of perhaps several, for it is given once. Undefined: there is none.
  virtual at::Tensor take() = 0;
};

/// For a node of autograd that makes the gradient of `parameter`: its GradientPlace's place, or a tensor like it.
at::Tensor empty_gradient(const at::Tensor& parameter);

}  // namespace parallel
