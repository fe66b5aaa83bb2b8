// defines: Linear, y = x W^T without bias
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// Which dimension of a weight the tensor group shares: neither, each rank some of the outputs (of the whole input), or
/// some of the inputs, so that its output is a summand.
enum class Spread { kNone, kOut, kIn };

class Linear : public torch::nn::Module {
 public:
  /// weight: [out_dim, in_dim], or this rank's part of it, normal with `std`.
  Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std, Spread spread = Spread::kNone);
  /// [..., in_dim] -> [..., out_dim], of this rank's weight
  at::Tensor forward(const at::Tensor& input) const;

  at::Tensor weight;
};

}  // namespace moetrain
