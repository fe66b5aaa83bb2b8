#include "moetrain/attention/attention_heads.h"

#include <ATen/ATen.h>

#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"

namespace moetrain {

at::Tensor split_heads(const at::Tensor& x_TD, const Sequences& sequences, int64_t head_dim) {
  const int64_t heads = x_TD.size(1) / head_dim;  // said outright: a rank may have no sequence, and 0 elements no -1
  return sequences.pad(x_TD).view({sequences.count(), sequences.longest(), heads, head_dim}).transpose(1, 2);
}

at::Tensor merge_heads(const at::Tensor& x_SHLd, const Sequences& sequences) {
  return sequences.unpad(x_SHLd.transpose(1, 2).flatten(2));
}

AttentionHeads::AttentionHeads(torch::nn::Module& owner, const ParameterSource& source, const AttentionShape& shape,
                               double std, double output_std)
    : head_dim_(shape.width / shape.heads), ranks_(source.mesh()->shape().tensor) {
  parallel::check_internal(shape.heads % ranks_ == 0, "AttentionHeads: ", shape.heads, " heads over ", ranks_);
  const bool whole_kv = shape.kv_heads % ranks_ != 0;
  const int64_t kv_width = shape.kv_heads * head_dim_;
  const auto add = [&](const std::string& name, int64_t out_dim, double init, Spread spread) {
    return owner.register_module(name, std::make_shared<Linear>(source.at(name), shape.width, out_dim, init, spread));
  };
  query_ = add("query", shape.width, std, Spread::kOut);
  key_ = add("key", kv_width, std, whole_kv ? Spread::kNone : Spread::kOut);
  value_ = add("value", kv_width, std, whole_kv ? Spread::kNone : Spread::kOut);
  output_ = add("output", shape.width, output_std, Spread::kIn);
  if (!whole_kv) return;
  const auto [first, count] = parallel::even_part(shape.heads, source.mesh()->place().tensor, ranks_);
  const int64_t sharing = shape.heads / shape.kv_heads;  // query heads of one key/value head
  first_kv_ = first / sharing;
  kv_count_ = (first + count - 1) / sharing - first_kv_ + 1;
  const auto options = source.options().dtype(at::kLong);
  kv_H_ = at::arange(first, first + count, options).div(sharing, "floor") - first_kv_;
}

at::Tensor AttentionHeads::query(const at::Tensor& x_TD, const Sequences& sequences) const {
  return split_heads(query_->forward(x_TD), sequences, head_dim_);
}

at::Tensor AttentionHeads::key(const at::Tensor& x_TD, const Sequences& sequences) const {
  return kv_heads_of(*key_, x_TD, sequences);
}

at::Tensor AttentionHeads::value(const at::Tensor& x_TD, const Sequences& sequences) const {
  return kv_heads_of(*value_, x_TD, sequences);
}

at::Tensor AttentionHeads::kv_heads_of(const Linear& projection, const at::Tensor& x_TD,
                                       const Sequences& sequences) const {
  if (!kv_H_.defined()) return split_heads(projection.forward(x_TD), sequences, head_dim_);
  const at::Tensor needed = projection.weight.narrow(0, first_kv_ * head_dim_, kv_count_ * head_dim_);
  return split_heads(at::linear(x_TD, needed), sequences, head_dim_).index_select(1, kv_H_);
}

at::Tensor AttentionHeads::mix(const at::Tensor& query_SHLd, const at::Tensor& key_SGLd, const at::Tensor& value_SGLd,
                               const Sequences& sequences, const Mask& mask) const {
  const at::Tensor mixed_SHLd = at::scaled_dot_product_attention(query_SHLd, key_SGLd, value_SGLd, mask.seen,
                                                                 /*dropout_p=*/0.0, mask.causal, /*scale=*/std::nullopt,
                                                                 /*enable_gqa=*/query_SHLd.size(1) != key_SGLd.size(1));
  return output_->forward(merge_heads(mixed_SHLd, sequences));
}

}  // namespace moetrain
