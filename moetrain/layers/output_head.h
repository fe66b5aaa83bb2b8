// defines: OutputHead: hidden states -> cross-entropy in chunks, or logits for decoding
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/parameter_source.h"

namespace moetrain {

// T tokens, D model width, V vocabulary

struct CrossEntropy {
  at::Tensor share;  // scalar: scale * sum over this rank's counted targets of -log p(target); differentiable
  at::Tensor nll_T;  // -log p(target) per token in at least float32, 0 where ignored; no gradient
};

/// Cross-entropy over the vocabulary without ever holding all logits: chunks of tokens, whose gradients are formed
/// while their logits are at hand.
class OutputHead : public torch::nn::Module {
 public:
  static constexpr int64_t kIgnored = -100;

  /// A head of its own: weight [V, D].
  OutputHead(const ParameterSource& source, int64_t width, int64_t vocabulary, double std);
  /// Shares `embedding_VD`; registers no parameter.
  explicit OutputHead(at::Tensor embedding_VD);

  /// targets_T: int64, kIgnored where there is none. Softmax in at least float32.
  CrossEntropy cross_entropy(const at::Tensor& hidden_TD, const at::Tensor& targets_T, double scale) const;

  /// [N, D] -> [N, V], in at least float32.
  at::Tensor logits(const at::Tensor& hidden_ND) const;

 private:
  at::Tensor weight_VD_;
};

}  // namespace moetrain
