// defines: CrossAttention, Memory, MemoryKeys: a decoder's attention to what the encoder made of the source
#pragma once
#include <torch/nn/module.h>

#include "moetrain/attention/attention_heads.h"
#include "parallel/autograd/token_parts.h"

namespace moetrain {

/// The encoder's output: the hidden states of S source sequences, all of a tensor group's on each of its ranks.
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
/// heads (AttentionHeads) and without positions: the two sides' places do not correspond.
class CrossAttention : public torch::nn::Module {
 public:
  CrossAttention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std);

  MemoryKeys keys(const Memory& memory) const;
  /// [T, D] -> [T, D]; sequence s of the input sees sequence s of the memory. `sequences` and `parts` as in Attention.
  at::Tensor forward(const at::Tensor& input_TD, const Sequences& sequences, const MemoryKeys& memory,
                     const parallel::TokenParts& parts = {}) const;

 private:
  AttentionHeads heads_;
};

}  // namespace moetrain
