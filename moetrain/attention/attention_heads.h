// defines: AttentionHeads, split_heads, merge_heads: the weights of an attention, of this rank's heads
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/attention/attention_product.h"
#include "moetrain/attention/attention_shape.h"
#include "moetrain/attention/head_norm.h"
#include "moetrain/layers/linear.h"
#include "moetrain/layers/sequences.h"
#include "parallel/autograd/token_parts.h"

namespace moetrain {

// S sequences, L length, T tokens of them all, D model width, H query heads, G key/value heads, d head width

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

  // [T, D] -> [S, H, L, d]; [S, G, L, d], where G is H if key/value heads had to be repeated. Query and key are normed
  // where the options say so, over all heads (QkNorm::kAll) collectively over the tensor group that `parts` share.
  at::Tensor query(const at::Tensor& x_TD, const Sequences& sequences, const parallel::TokenParts& parts,
                   const AdapterDraws& draws = {}) const;
  at::Tensor key(const at::Tensor& x_TD, const Sequences& sequences, const parallel::TokenParts& parts,
                 const AdapterDraws& draws = {}) const;
  at::Tensor value(const at::Tensor& x_TD, const Sequences& sequences, const AdapterDraws& draws = {}) const;

  /// With the sinks, where there are some.
  AttentionProduct product() const { return {scale_, weights_, sinks_H_}; }
  /// [S, H, L, d], what the queries see of the values, through the output weight -> [T, D], a summand of each rank of
  /// the group, for `sum`.
  at::Tensor output(const at::Tensor& mixed_SHLd, const Sequences& sequences, const AdapterDraws& draws = {}) const {
    return output_->forward(merge_heads(mixed_SHLd, sequences), draws);
  }
  /// The group's summands -> this rank's tokens' output.
  at::Tensor sum(const at::Tensor& mixed_TD, const parallel::TokenParts& parts) const {
    return output_->with_bias(parts.sum(mixed_TD));
  }

  int64_t ranks() const { return ranks_; }  // of the tensor group

 private:
  /// What a key or value projection makes of tokens, [T, n d], of the heads that this rank needs.
  at::Tensor needed_kv(const Linear& projection, const at::Tensor& x_TD, const AdapterDraws& draws) const;
  /// Those heads -> one for each query head where they are whole on every rank.
  at::Tensor kv_heads(const at::Tensor& kv_TD, const Sequences& sequences) const;
  /// Within the clip of 0, where there is one.
  at::Tensor clipped(const at::Tensor& projected_TD) const;

  int64_t head_dim_, ranks_;
  double clip_, scale_;
  AttentionWeights weights_;
  std::shared_ptr<Linear> query_, key_, value_, output_;
  std::shared_ptr<HeadNorm> query_norm_, key_norm_;  // null without QkNorm
  at::Tensor sinks_H_;                               // undefined without
  // Where key and value are whole on every rank of a group:
  int64_t first_kv_ = 0, kv_count_ = 0;  // those that this rank's query heads need
  at::Tensor kv_H_;                      // int64: which of them each query head does; undefined elsewhere
};

}  // namespace moetrain
