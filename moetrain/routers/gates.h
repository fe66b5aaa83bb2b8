// defines: Gate, parse_gate, gate_weights: the weights with which a token's experts are combined
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace moetrain {

/// P: the probability of a chosen expert.
enum class Gate {
  kRaw,       // P: Switch, Qwen2-MoE
  kSum1,      // P / sum of the chosen P; the softmax over the chosen logits: Mixtral, Shazeer
  kSum1Kept,  // P / sum of the chosen P that were not dropped: GShard, DeepSpeed's top-2
  kHard,      // 1 / K, without gradient: THOR, hash layers; the mean of an ensemble
};

Gate parse_gate(const std::string& name);

/// kept_TK: bool, false where the capacity rule dropped a choice. A dropped choice's weight has no effect.
at::Tensor gate_weights(Gate gate, const at::Tensor& probability_TK, const at::Tensor& kept_TK);

}  // namespace moetrain
