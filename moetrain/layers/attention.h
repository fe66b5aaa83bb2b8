// defines: Attention, KeyValueCache: causal grouped-query attention with rotary positions
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/layers/linear.h"
#include "moetrain/layers/rotary.h"

namespace moetrain {

// S sequences, L length, T = S * L tokens, D model width, H query heads, G key/value heads, d head width

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
};

/// Grouped-query attention (Ainslie et al. 2023): heads / kv_heads query heads share one key/value head.
/// The product itself is LibTorch's fused scaled_dot_product_attention, without dropout.
class Attention : public torch::nn::Module {
 public:
  Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std);

  /// input_TD, sequence after sequence of length L -> [T, D].
  /// With a cache: the places follow those in it (L = 1 place a sequence, or an empty cache), and are added to it.
  at::Tensor forward(const at::Tensor& input_TD, int64_t sequence_length, KeyValueCache* cache) const;

 private:
  at::Tensor heads_of(const Linear& projection, const at::Tensor& input_TD, int64_t sequence_length) const;

  AttentionShape shape_;
  Rotary rotary_;
  std::shared_ptr<Linear> query_, key_, value_, output_;
};

}  // namespace moetrain
