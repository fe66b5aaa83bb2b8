// defines: HeadNorm: RMSNorm of queries or keys
#pragma once
#include <torch/nn/module.h>

#include "moetrain/attention/attention_config.h"
#include "moetrain/layers/parameter_source.h"
#include "parallel/autograd/token_parts.h"

namespace moetrain {

/// x / sqrt(mean(x^2) + epsilon) * weight, the mean over one head (weight [d], the same for all heads) or over all of
/// them (weight [heads * d]).
class HeadNorm : public torch::nn::Module {
 public:
  struct Shape {
    QkNorm kind = QkNorm::kHead;  // not kNone
    int64_t heads = 0;            // of the whole model
    int64_t head_dim = 0;
    double epsilon = 1e-5;
    bool spread = false;  // over the ranks of the tensor group, each with an even part of the heads
  };
  HeadNorm(const ParameterSource& source, const Shape& shape);
  /// [T, n d], the n heads that are here, -> the same. kAll and spread: `parts` are the tensor group's tokens, T of
  /// them all; collective over it then.
  at::Tensor forward(const at::Tensor& x_TD, const parallel::TokenParts& parts) const;

 private:
  Shape shape_;
  at::Tensor weight_;
};

}  // namespace moetrain
