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
    : head_dim_(shape.head_width()),
      ranks_(source.mesh()->shape().tensor),
      clip_(shape.options.clip),
      scale_(shape.scale()),
      weights_(shape.options.weights) {
  parallel::check_internal(shape.heads % ranks_ == 0, "AttentionHeads: ", shape.heads, " heads over ", ranks_);
  const bool whole_kv = shape.kv_heads % ranks_ != 0;
  const int64_t query_width = shape.heads * head_dim_, kv_width = shape.kv_heads * head_dim_;
  const Bias bias = shape.options.bias == ProjectionBias::kNone ? Bias::kNone : Bias::kYes;
  const auto add = [&](const std::string& name, int64_t out_dim, Spread spread) {
    return owner.register_module(name,
                                 std::make_shared<Linear>(source.at(name), shape.width, out_dim, std, spread, bias));
  };
  query_ = add("query", query_width, Spread::kOut);
  key_ = add("key", kv_width, whole_kv ? Spread::kNone : Spread::kOut);
  value_ = add("value", kv_width, whole_kv ? Spread::kNone : Spread::kOut);
  output_ = owner.register_module(
      "output", std::make_shared<Linear>(source.at("output"), query_width, shape.width, output_std, Spread::kIn,
                                         shape.options.bias == ProjectionBias::kAll ? Bias::kYes : Bias::kNone));
  const auto add_norm = [&](const std::string& name, int64_t heads, bool spread) {
    const HeadNorm::Shape norm{shape.options.norm, heads, head_dim_, shape.norm_epsilon, spread};
    return owner.register_module(name, std::make_shared<HeadNorm>(source.at(name), norm));
  };
  if (shape.options.norm != QkNorm::kNone) {
    query_norm_ = add_norm("query_norm", shape.heads, /*spread=*/true);
    key_norm_ = add_norm("key_norm", shape.kv_heads, /*spread=*/!whole_kv);
  }
  if (shape.options.sinks) {
    sinks_H_ = owner.register_parameter("sinks", source.spread("sinks", {shape.heads}, 0, /*std=*/0.0));
  }
  if (!whole_kv) return;
  const auto [first, count] = parallel::even_part(shape.heads, source.mesh()->place().tensor, ranks_);
  const int64_t sharing = shape.heads / shape.kv_heads;  // query heads of one key/value head
  first_kv_ = first / sharing;
  kv_count_ = (first + count - 1) / sharing - first_kv_ + 1;
  const auto options = source.options().dtype(at::kLong);
  kv_H_ = at::arange(first, first + count, options).div(sharing, "floor") - first_kv_;
}

at::Tensor AttentionHeads::query(const at::Tensor& x_TD, const Sequences& sequences, const parallel::TokenParts& parts,
                                 const AdapterDraws& draws) const {
  at::Tensor query_TD = query_->forward(x_TD, draws);
  if (query_norm_) query_TD = query_norm_->forward(query_TD, parts);
  return split_heads(clipped(query_TD), sequences, head_dim_);
}

at::Tensor AttentionHeads::key(const at::Tensor& x_TD, const Sequences& sequences, const parallel::TokenParts& parts,
                               const AdapterDraws& draws) const {
  if (!key_norm_) return kv_heads(clipped(needed_kv(*key_, x_TD, draws)), sequences);
  const at::Tensor key_TD = clipped(key_norm_->forward(key_->forward(x_TD, draws), parts));
  return kv_heads(kv_H_.defined() ? key_TD.narrow(1, first_kv_ * head_dim_, kv_count_ * head_dim_) : key_TD, sequences);
}

at::Tensor AttentionHeads::value(const at::Tensor& x_TD, const Sequences& sequences, const AdapterDraws& draws) const {
  return kv_heads(clipped(needed_kv(*value_, x_TD, draws)), sequences);
}

at::Tensor AttentionHeads::clipped(const at::Tensor& projected_TD) const {
  return clip_ > 0 ? projected_TD.clamp(-clip_, clip_) : projected_TD;
}

at::Tensor AttentionHeads::needed_kv(const Linear& projection, const at::Tensor& x_TD,
                                     const AdapterDraws& draws) const {
  if (!kv_H_.defined()) return projection.forward(x_TD, draws);
  return projection.forward(x_TD, first_kv_ * head_dim_, kv_count_ * head_dim_, draws);
}

at::Tensor AttentionHeads::kv_heads(const at::Tensor& kv_TD, const Sequences& sequences) const {
  const at::Tensor kv_SGLd = split_heads(kv_TD, sequences, head_dim_);
  return kv_H_.defined() ? kv_SGLd.index_select(1, kv_H_) : kv_SGLd;
}

}  // namespace moetrain
