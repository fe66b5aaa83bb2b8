// defines: AttentionMask, AttentionProduct: what queries see of values
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "moetrain/attention/attention_config.h"

namespace moetrain {

// S sequences, L length, H query heads, G key/value heads, d head width

struct AttentionMask {
  std::optional<at::Tensor> seen;  // bool, broadcast to [S, H, L, keys]
  bool causal = false;             // besides
  at::Tensor bias_1HLK = {};       // added to the logits; undefined: nothing
};

/// softmax(q k^T scale) v, or what else AttentionConfig::weights says in place of the softmax; H / G query heads share
/// a key/value head, one after another. On the processor softmax_attention; elsewhere LibTorch's
/// scaled_dot_product_attention, without dropout, and with sinks written out. With a bias or other weights than
/// softmax's always written out.
struct AttentionProduct {
  double scale = 1;
  AttentionWeights weights = AttentionWeights::kSoftmax;
  at::Tensor sinks_H = {};  // logits without a key; undefined: none

  /// [S, H, L, d]
  at::Tensor of(const at::Tensor& query_SHLd, const at::Tensor& key_SGLd, const at::Tensor& value_SGLd,
                const AttentionMask& mask) const;

  /// The same of the next place of each sequence to what a cache has, of which `end_S` are its sequence's own and of
  /// these the last `window` seen, where it is above 0. Undefined where the product has no way that needs no mask.
  at::Tensor of_next(const at::Tensor& query_SH1d, const at::Tensor& key_SGLd, const at::Tensor& value_SGLd,
                     const std::vector<int64_t>& end_S, int64_t window) const;

 private:
  at::Tensor written_out(const at::Tensor& query_SHLd, const at::Tensor& key_SGLd, const at::Tensor& value_SGLd,
                         const AttentionMask& mask) const;
  /// Of logits, those of unseen keys -inf.
  at::Tensor shares(const at::Tensor& logits_SHLK) const;
};

}  // namespace moetrain
