#include "moetrain/layers/attention.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"

namespace moetrain {

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

at::Tensor Attention::heads_of(const Linear& projection, const at::Tensor& input_TD, int64_t sequence_length) const {
  const int64_t head_dim = shape_.width / shape_.heads;
  return projection.forward(input_TD)
      .view({input_TD.size(0) / sequence_length, sequence_length, -1, head_dim})
      .transpose(1, 2);
}

at::Tensor Attention::forward(const at::Tensor& input_TD, int64_t sequence_length, KeyValueCache* cache) const {
  if (input_TD.size(0) == 0) return at::zeros_like(input_TD);
  const int64_t past = cache != nullptr ? cache->length() : 0;
  parallel::check_internal(past == 0 || sequence_length == 1, "Attention: ", sequence_length,
                           " places after a cache of ", past, "; one at a time");
  const at::Tensor query_SHLd = rotary_.rotate(heads_of(*query_, input_TD, sequence_length), past);
  at::Tensor key_SGLd = rotary_.rotate(heads_of(*key_, input_TD, sequence_length), past);
  at::Tensor value_SGLd = heads_of(*value_, input_TD, sequence_length);
  if (cache != nullptr) {
    if (past > 0) {
      key_SGLd = at::cat({cache->key_SGLd, key_SGLd}, 2);
      value_SGLd = at::cat({cache->value_SGLd, value_SGLd}, 2);
    }
    cache->key_SGLd = key_SGLd;
    cache->value_SGLd = value_SGLd;
  }
  const at::Tensor mixed_SHLd = at::scaled_dot_product_attention(
      query_SHLd, key_SGLd, value_SGLd, /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/past == 0,
      /*scale=*/std::nullopt, /*enable_gqa=*/shape_.heads != shape_.kv_heads);
  return output_->forward(mixed_SHLd.transpose(1, 2).reshape({input_TD.size(0), shape_.width}));
}

}  // namespace moetrain
