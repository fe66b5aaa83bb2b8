// defines: rms_norm, rms_norm_backward: y = x w / sqrt(mean(x^2) + epsilon)
#pragma once
#include <cstdint>

#include "parallel/kernels/bfloat16.h"

namespace parallel {

// T rows of D numbers x, one after another, float, double or Bfloat16

/// Zhang and Sennrich 2019. scale: [T], 1 / sqrt(mean(x^2) + epsilon), which backward needs;
/// null: nobody does.
template <class Scalar>
void rms_norm(const Scalar* x_TD, const Scalar* weight_D, int64_t rows, int64_t width, double epsilon, Scalar* y_TD,
              Wide<Scalar>* scale_T);

/// From x, or where that is null from y: then no weight may be so near to 0 that its quotient y / w is not x scale.
template <class Scalar>
struct RmsNormBackward {
  const Scalar *grad_TD, *x_TD, *y_TD, *weight_D;
  const Wide<Scalar>* scale_T;
  int64_t rows, width;
};
/// The weight's gradient is a sum over rows, in blocks whose number the threads have no say in.
template <class Scalar>
void rms_norm_backward(const RmsNormBackward<Scalar>& all, Scalar* grad_x_TD, Scalar* grad_weight_D);

}  // namespace parallel
