// defines: Modulation, Modulated: what a condition of a whole sequence does to a layer (adaLN-zero)
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/batch_scope.h"
#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// Of this rank's tokens, [T, D] each.
struct Modulated {
  at::Tensor shift_TD, scale_TD, gate_TD;

  at::Tensor of(const at::Tensor& normed_TD) const { return normed_TD * (scale_TD + 1) + shift_TD; }
};

/// (shift, scale, gate) = W silu(c) + b of each sequence's condition c (Peebles and Xie 2023, DiT): a layer f becomes
/// x + gate f(norm(x) (1 + scale) + shift). Zeros at the start, so that each layer begins as the identity.
/// Parameters: weight [3 D, D], bias [3 D].
class Modulation : public torch::nn::Module {
 public:
  /// gated: with a gate; else shift and scale alone, and two thirds of the parameters.
  Modulation(const ParameterSource& source, int64_t width, bool gated = true);
  /// condition_SD: of all sequences of the tensor group.
  Modulated forward(const at::Tensor& condition_SD, const BatchScope& scope) const;

 private:
  int64_t parts_;
  at::Tensor weight_MD_, bias_M_;
};

}  // namespace moetrain
