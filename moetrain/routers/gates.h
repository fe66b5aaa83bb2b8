// defines: Gate, parse_gate, gate_weights, GateMasks: the weights with which a token's experts are combined
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace moetrain {

/// S: the score of a chosen expert; mostly its probability.
enum class Gate {
  kRaw,       // S: Switch, Qwen2-MoE
  kSum1,      // S / sum of the chosen S; the softmax over the chosen logits: Mixtral, Shazeer
  kSum1Kept,  // S / sum of the chosen S that were not dropped: GShard, DeepSpeed's top-2
  kTrue1,     // S / sum of the chosen S whose experts put anything out, and 0 for the others: AdaMoE (null experts) and
              // MoE++ (its zero expert's gate is set to 0 before the sum)
  kHard,      // 1 / K, without gradient: THOR, hash layers; the mean of an ensemble
};

Gate parse_gate(const std::string& name);

/// Of each choice, bool.
struct GateMasks {
  at::Tensor kept_TK;  // false where the capacity rule dropped it
  at::Tensor true_TK;  // false for zero and null experts
};

/// A dropped choice's weight has no effect. A token without any choice that counts has weights 0.
at::Tensor gate_weights(Gate gate, const at::Tensor& score_TK, const GateMasks& masks);

}  // namespace moetrain
