// defines: CrossAttention, Memory, MemoryKeys: a decoder's attention to what the encoder made of the source
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/layers/attention.h"

namespace moetrain {

/// The encoder's output: the hidden states of S source sequences.
struct Memory {
  at::Tensor hidden_TD;
  Sequences sequences;
};

/// What one block's queries meet: keys and values of the memory. In decoding they are made once for all places.
struct MemoryKeys {
  at::Tensor key_SGLd, value_SGLd;
  at::Tensor there_SL;  // bool; undefined where all sequences have one length
};

/// Attention of target tokens to all tokens of their own source sequence (Vaswani et al. 2017), with shared key/value
/// heads as in Attention and without positions: the two sides' places do not correspond.
class CrossAttention : public torch::nn::Module {
 public:
  CrossAttention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std);

  MemoryKeys keys(const Memory& memory) const;
  /// [T, D] -> [T, D]; sequence s of the input sees sequence s of the memory.
  at::Tensor forward(const at::Tensor& input_TD, const Sequences& sequences, const MemoryKeys& memory) const;

 private:
  AttentionShape shape_;
  std::shared_ptr<Linear> query_, key_, value_, output_;
};

}  // namespace moetrain
