#include "moetrain/layers/cross_attention.h"

#include <ATen/ATen.h>

#include <optional>

namespace moetrain {

CrossAttention::CrossAttention(const ParameterSource& source, const AttentionShape& shape, double std,
                               double output_std)
    : shape_(shape) {
  const int64_t kv_width = shape.kv_heads * (shape.width / shape.heads);
  const auto add = [&](const std::string& name, int64_t out_dim, double init) {
    return register_module(name, std::make_shared<Linear>(source.at(name), shape.width, out_dim, init));
  };
  query_ = add("query", shape.width, std);
  key_ = add("key", kv_width, std);
  value_ = add("value", kv_width, std);
  output_ = add("output", shape.width, output_std);
}

MemoryKeys CrossAttention::keys(const Memory& memory) const {
  const int64_t head_dim = shape_.width / shape_.heads;
  const auto heads_of = [&](const Linear& projection) {
    return split_heads(projection.forward(memory.hidden_TD), memory.sequences, head_dim);
  };
  return {heads_of(*key_), heads_of(*value_), memory.sequences.uniform() ? at::Tensor() : memory.sequences.there_SL()};
}

at::Tensor CrossAttention::forward(const at::Tensor& input_TD, const Sequences& sequences,
                                   const MemoryKeys& memory) const {
  // Without tokens there is nothing to attend with, but backward must reach the encoder here as on the other ranks,
  // whose collectives wait for it.
  if (input_TD.size(0) == 0) return input_TD + 0 * (memory.key_SGLd.sum() + memory.value_SGLd.sum());
  const at::Tensor query_SHLd = split_heads(query_->forward(input_TD), sequences, shape_.width / shape_.heads);
  std::optional<at::Tensor> seen;
  if (memory.there_SL.defined()) seen = memory.there_SL.unsqueeze(1).unsqueeze(1);
  const at::Tensor mixed_SHLd = at::scaled_dot_product_attention(
      query_SHLd, memory.key_SGLd, memory.value_SGLd, seen, /*dropout_p=*/0.0, /*is_causal=*/false,
      /*scale=*/std::nullopt, /*enable_gqa=*/shape_.heads != shape_.kv_heads);
  return output_->forward(merge_heads(mixed_SHLd, sequences));
}

}  // namespace moetrain
