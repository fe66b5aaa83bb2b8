// defines: AttentionHeads, AttentionShape, split_heads, merge_heads: the weights of an attention, of this rank's heads
#pragma once
#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "moetrain/layers/linear.h"
#include "moetrain/layers/sequences.h"

namespace moetrain {

// S sequences, L length, T tokens of them all, D model width, H query heads, G key/value heads, d head width

struct AttentionShape {
  int64_t width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  double rope_theta = 10000.0;
  bool causal = true;
  bool rotary = true;  // positions; else they are in the input
};

/// [T, heads * d] -> [S, heads, L, d], padded with zeros, and back.
at::Tensor split_heads(const at::Tensor& x_TD, const Sequences& sequences, int64_t head_dim);
at::Tensor merge_heads(const at::Tensor& x_SHLd, const Sequences& sequences);

/// Query, key, value and output of an attention; heads / kv_heads query heads share one key/value head (Ainslie et al.
/// 2023). A tensor group shares the heads: each rank computes an even, contiguous part of the query heads, for all of
/// the group's tokens. Key/value heads are shared in the same way where the ranks divide them. Elsewhere key and value
/// weights are whole on every rank, which computes the key/value heads that its query heads need and leaves the
/// gradient of the others at zero, so that the sum over all ranks is complete.
class AttentionHeads {
 public:
  /// Registers the weights with `owner`. @pre the tensor group divides the heads
  AttentionHeads(torch::nn::Module& owner, const ParameterSource& source, const AttentionShape& shape, double std,
                 double output_std);

  // [T, D] -> [S, H, L, d]; [S, G, L, d], where G is H if key/value heads had to be repeated:
  at::Tensor query(const at::Tensor& x_TD, const Sequences& sequences) const;
  at::Tensor key(const at::Tensor& x_TD, const Sequences& sequences) const;
  at::Tensor value(const at::Tensor& x_TD, const Sequences& sequences) const;

  struct Mask {
    std::optional<at::Tensor> seen;  // bool, broadcast to [S, H, L, keys]
    bool causal = false;
  };
  /// What the queries see of the values, through the output weight -> [T, D], a summand of each rank of the group. The
  /// product itself is LibTorch's fused scaled_dot_product_attention, without dropout.
  at::Tensor mix(const at::Tensor& query_SHLd, const at::Tensor& key_SGLd, const at::Tensor& value_SGLd,
                 const Sequences& sequences, const Mask& mask) const;

  int64_t ranks() const { return ranks_; }  // of the tensor group

 private:
  at::Tensor kv_heads_of(const Linear& projection, const at::Tensor& x_TD, const Sequences& sequences) const;

  int64_t head_dim_, ranks_;
  std::shared_ptr<Linear> query_, key_, value_, output_;
  // Where key and value are whole on every rank of a group:
  int64_t first_kv_ = 0, kv_count_ = 0;  // those that this rank's query heads need
  at::Tensor kv_H_;                      // int64: which of them each query head does; undefined elsewhere
};

}  // namespace moetrain
