// defines: GradientWidth, GradientPlace, gradient_place, empty_gradient: where the gradient of a parameter is written
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function_hook.h>

namespace parallel {

/// In which type a node can write a parameter's gradient: the parameter's, or also the one in which gradients are
/// summed, float32 for a parameter in 16 bits.
enum class GradientWidth { kOwn, kSummed };

/// On a parameter, by whoever gathers gradients: has a place for its next one, which then need not be copied there.
class GradientPlace : public torch::autograd::PostAccumulateGradHook {
 public:
  /// As large as the parameter, nothing in it. Whoever gets it writes every number, and gives it to autograd as a
  /// gradient of this parameter: one of perhaps several, for it is given once. Undefined: there is none, or none of
  /// such a type.
  virtual at::Tensor take(GradientWidth width) = 0;
};

/// For a node of autograd that makes the gradient of `parameter`: its GradientPlace's place; undefined where it has
/// none.
at::Tensor gradient_place(const at::Tensor& parameter, GradientWidth width);
/// The same, or a tensor like the parameter.
at::Tensor empty_gradient(const at::Tensor& parameter, GradientWidth width = GradientWidth::kOwn);

}  // namespace parallel
