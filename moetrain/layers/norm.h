// defines: Norm, RMSNorm or LayerNorm over the last dim
#pragma once
#include <torch/nn/module.h>

#include "moetrain/config/layer_kinds.h"
#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// RMSNorm (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * weight.
/// LayerNorm (Ba et al. 2016): the same on x - mean(x), plus a bias.
class Norm : public torch::nn::Module {
 public:
  Norm(const ParameterSource& source, NormKind kind, int64_t dim, double epsilon);
  /// [..., dim] -> [..., dim]
  at::Tensor forward(const at::Tensor& input) const;

 private:
  NormKind kind_;
  double epsilon_;
  at::Tensor weight_;
  at::Tensor bias_;
};

}  // namespace moetrain
