#include "moetrain/layers/attention.h"

#include <ATen/ATen.h>

#include <optional>

#include "parallel/base/fault.h"

namespace moetrain {

at::Tensor split_heads(const at::Tensor& x_TD, const Sequences& sequences, int64_t head_dim) {
  const int64_t heads = x_TD.size(1) / head_dim;  // said outright: a rank may have no sequence, and 0 elements no -1
  return sequences.pad(x_TD).view({sequences.count(), sequences.longest(), heads, head_dim}).transpose(1, 2);
}

at::Tensor merge_heads(const at::Tensor& x_SHLd, const Sequences& sequences) {
  return sequences.unpad(x_SHLd.transpose(1, 2).flatten(2));
}

Attention::Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std)
    : shape_(shape), rotary_(shape.width / shape.heads, shape.rope_theta, source.options()) {
  const int64_t kv_width = shape.kv_heads * (shape.width / shape.heads);
  const auto add = [&](const std::string& name, int64_t in_dim, int64_t out_dim, double init) {
    return register_module(name, std::make_shared<Linear>(source.at(name), in_dim, out_dim, init));
  };
  query_ = add("query", shape.width, shape.width, std);
  key_ = add("key", shape.width, kv_width, std);
  value_ = add("value", shape.width, kv_width, std);
  output_ = add("output", shape.width, shape.width, output_std);
}

at::Tensor Attention::forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache) const {
  if (input_TD.size(0) == 0) return at::zeros_like(input_TD);
  const int64_t past = cache != nullptr ? cache->length() : 0, head_dim = shape_.width / shape_.heads;
  parallel::check_internal(past == 0 || sequences.longest() == 1, "Attention: ", sequences.longest(),
                           " places after a cache of ", past, "; one at a time");
  const auto heads_of = [&](const Linear& projection) {
    return split_heads(projection.forward(input_TD), sequences, head_dim);
  };
  const at::Tensor query_SHLd = rotary_.rotate(heads_of(*query_), past);
  at::Tensor key_SGLd = rotary_.rotate(heads_of(*key_), past), value_SGLd = heads_of(*value_);
  if (cache != nullptr) {
    if (past > 0) {
      key_SGLd = at::cat({cache->key_SGLd, key_SGLd}, 2);
      value_SGLd = at::cat({cache->value_SGLd, value_SGLd}, 2);
    }
    cache->key_SGLd = key_SGLd;
    cache->value_SGLd = value_SGLd;
  }
  // Padding follows a sequence, so a causal token never sees it; its own rows are thrown away.
  std::optional<at::Tensor> seen;
  if (!shape_.causal && !sequences.uniform()) seen = sequences.there_SL().unsqueeze(1).unsqueeze(1);
  const at::Tensor mixed_SHLd = at::scaled_dot_product_attention(
      query_SHLd, key_SGLd, value_SGLd, seen, /*dropout_p=*/0.0, /*is_causal=*/shape_.causal && past == 0,
      /*scale=*/std::nullopt, /*enable_gqa=*/shape_.heads != shape_.kv_heads);
  return output_->forward(merge_heads(mixed_SHLd, sequences));
}

}  // namespace moetrain
