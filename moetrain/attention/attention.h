// defines: SelfAttention, make_self_attention, Attention: grouped-query self-attention
#pragma once
#include <torch/nn/module.h>

#include "moetrain/attention/attention_heads.h"
#include "moetrain/attention/own_side.h"
#include "parallel/autograd/token_parts.h"

namespace moetrain {

/// A token sees those of its own sequence: all, or (causal) itself and those before it.
class SelfAttention : public torch::nn::Module {
 public:
  /// [T, D] -> [T, D]. With a cache: the places follow those in it (one place a sequence, or an empty cache and
  /// sequences of one length), and are added to it. Where a tensor group shares the heads, `sequences` and `parts` are
  /// of all its tokens, T of them this rank's. Collective over it then. draws: of the group's tokens. The bias, of this
  /// rank's heads, is PositionBias' for these places; undefined: none.
  virtual at::Tensor forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                             const parallel::TokenParts& parts = {}, const AdapterDraws& draws = {},
                             const at::Tensor& bias_1HLK = {}) const = 0;
};

/// Of shape.options.kind.
std::shared_ptr<SelfAttention> make_self_attention(const ParameterSource& source, const AttentionShape& shape,
                                                   double std, double output_std);

/// Grouped-query attention (AttentionHeads).
class Attention : public SelfAttention {
 public:
  Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std);
  at::Tensor forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                     const parallel::TokenParts& parts = {}, const AdapterDraws& draws = {},
                     const at::Tensor& bias_1HLK = {}) const override;

 private:
  OwnSide side_;
  AttentionHeads heads_;
};

}  // namespace moetrain
