// defines: SoftmaxAttention, has_attention, softmax_attention, NextPlaces, has_next_attention, next_attention
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace moetrain {

// S sequences, H query heads, of which H / G neighbours share a key/value head, L queries

struct SoftmaxAttention {
  std::optional<at::Tensor> seen = std::nullopt;  // bool, broadcast to [S, H, L, keys]
  bool causal = false;                            // query l sees keys 0 to l, of those
  double scale = 1;
  at::Tensor sinks_H = {};  // of each head a logit without a key; undefined: none
};

/// Whether softmax_attention is for such tensors.
bool has_attention(const at::Tensor& query_SHLd, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv);

/// softmax(query key^T scale) value -> [S, H, L, v], zeros for a query that sees no key; without holding more of the
/// products than a block of queries has, in backward either (Dao et al. 2022). Differentiable in the three and in the
/// sinks. A position's heads lie side by side in what it gives. Backward shares its work out by key/value head.
at::Tensor softmax_attention(const at::Tensor& query_SHLd, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv,
                             const SoftmaxAttention& how);

/// Which of the keys a next place sees.
struct NextPlaces {
  const std::vector<int64_t>& end_S;  // those before it in its sequence,
  int64_t window = 0;                 // or of these the last ones, where it is above 0
  double scale = 1;
  at::Tensor sinks_H = {};
};

/// Without gradient, of one query of each sequence, to keys and values where a cache has them. Whether it is for such
/// tensors.
bool has_next_attention(const at::Tensor& query_SH1d, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv);
at::Tensor next_attention(const at::Tensor& query_SH1d, const at::Tensor& key_SGKd, const at::Tensor& value_SGKv,
                          const NextPlaces& places);

}  // namespace moetrain
