// defines: Attention, KeyValueCache, split_heads, merge_heads: grouped-query self-attention with rotary positions
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/layers/linear.h"
#include "moetrain/layers/rotary.h"
#include "moetrain/layers/sequences.h"

namespace moetrain {

// S sequences, L length, T tokens of them all, D model width, H query heads, G key/value heads, d head width

/// Keys and values of the places decoded so far, of one block.
struct KeyValueCache {
  at::Tensor key_SGLd, value_SGLd;  // undefined at first
  int64_t length() const { return key_SGLd.defined() ? key_SGLd.size(2) : 0; }
};

struct AttentionShape {
  int64_t width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  double rope_theta = 10000.0;
  bool causal = true;
};

/// [T, heads * d] -> [S, heads, L, d], padded with zeros, and back.
at::Tensor split_heads(const at::Tensor& x_TD, const Sequences& sequences, int64_t head_dim);
at::Tensor merge_heads(const at::Tensor& x_SHLd, const Sequences& sequences);

/// Grouped-query attention (Ainslie et al. 2023): heads / kv_heads query heads share one key/value head. A token sees
/// those of its own sequence: all, or (causal) itself and those before it.
/// The product itself is LibTorch's fused scaled_dot_product_attention, without dropout.
class Attention : public torch::nn::Module {
 public:
  Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std);

  /// [T, D] -> [T, D]. With a cache: the places follow those in it (one place a sequence, or an empty cache and
  /// sequences of one length), and are added to it.
  at::Tensor forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache) const;

 private:
  AttentionShape shape_;
  Rotary rotary_;
  std::shared_ptr<Linear> query_, key_, value_, output_;
};

}  // namespace moetrain
