// defines: Linear, y = x W^T without bias
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/parameter_source.h"

namespace moetrain {

class Linear : public torch::nn::Module {
 public:
  /// weight: [out_dim, in_dim], normal with `std`.
  Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std);
  /// [..., in_dim] -> [..., out_dim]
  at::Tensor forward(const at::Tensor& input) const;

  at::Tensor weight;
};

}  // namespace moetrain
