// defines: ResidualMix: two branches weighed by a learned softmax
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// The residual expert of PR-MoE (Rajbhandari et al. 2022): y = c0 routed + c1 shared, c = softmax(W x + b).
/// Parameters: weight [2, D], normal with `std`; bias [2], zeros (the paper names neither; both are our choice).
class ResidualMix : public torch::nn::Module {
 public:
  ResidualMix(const ParameterSource& source, int64_t width, double std);
  /// All [T, D]; `tokens_TD` is what both branches saw.
  at::Tensor forward(const at::Tensor& tokens_TD, const at::Tensor& routed_TD, const at::Tensor& shared_TD) const;

 private:
  at::Tensor weight_2D_, bias_2_;
};

}  // namespace moetrain
