#include "moetrain/attention/attention.h"

#include <ATen/ATen.h>

#include "moetrain/attention/latent_attention.h"
#include "moetrain/layers/no_tokens.h"
#include "parallel/base/fault.h"

namespace moetrain {

void KeyValueCache::extend(at::Tensor& new_key_SGLd, at::Tensor& new_value_SGLd) {
  if (length() > 0) {
    new_key_SGLd = at::cat({key_SGLd, new_key_SGLd}, 2);
    new_value_SGLd = at::cat({value_SGLd, new_value_SGLd}, 2);
  }
  key_SGLd = new_key_SGLd;
  value_SGLd = new_value_SGLd;
}

std::shared_ptr<SelfAttention> make_self_attention(const ParameterSource& source, const AttentionShape& shape,
                                                   double std, double output_std) {
  if (shape.options.kind == AttentionKind::kLatent) {
    return std::make_shared<LatentAttention>(source, shape, std, output_std);
  }
  return std::make_shared<Attention>(source, shape, std, output_std);
}

Attention::Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std)
    : shape_(shape),
      rotary_(rope_frequencies(shape.options, shape.head_width(), shape.rope_theta), source.options()),
      heads_(*this, source, shape, std, output_std) {}

at::Tensor Attention::forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                              const parallel::TokenParts& parts, const AdapterDraws& draws,
                              const at::Tensor& bias_1HLK) const {
  if (sequences.tokens() == 0) return zeros_of(*this, input_TD);  // nor has any other rank of the group
  const int64_t past = cache != nullptr ? cache->length() : 0;
  parallel::check_internal(past == 0 || sequences.longest() == 1, "Attention: ", sequences.longest(),
                           " places after a cache of ", past, "; one at a time");
  parallel::check_internal(parts.ranks() == heads_.ranks(), "Attention: tokens of ", parts.ranks(), " ranks, heads of ",
                           heads_.ranks());
  const at::Tensor all_TD = parts.gather(input_TD);
  const auto placed = [&](const at::Tensor& x_SHLd) { return shape_.rotary ? rotary_.rotate(x_SHLd, past) : x_SHLd; };
  const at::Tensor query_SHLd = placed(heads_.query(all_TD, sequences, parts, draws));
  at::Tensor key_SGLd = placed(heads_.key(all_TD, sequences, parts, draws));
  at::Tensor value_SGLd = heads_.value(all_TD, sequences, draws);
  if (cache != nullptr) cache->extend(key_SGLd, value_SGLd);
  // Padding follows a sequence, so a causal token never sees it; its own rows are thrown away.
  AttentionHeads::Mask mask{.causal = shape_.causal && past == 0, .bias_1HLK = bias_1HLK};
  if (!shape_.causal && !sequences.uniform()) mask.seen = sequences.there_SL().unsqueeze(1).unsqueeze(1);
  const int64_t keys = key_SGLd.size(2);
  if (shape_.window > 0 && keys > shape_.window) {
    if (past > 0) {  // one place, which is the last
      key_SGLd = key_SGLd.narrow(2, keys - shape_.window, shape_.window);
      value_SGLd = value_SGLd.narrow(2, keys - shape_.window, shape_.window);
      if (bias_1HLK.defined()) mask.bias_1HLK = bias_1HLK.narrow(3, keys - shape_.window, shape_.window);
    } else {
      mask = {.seen = seen_in_window(keys, key_SGLd.device()), .bias_1HLK = bias_1HLK};
    }
  }
  return heads_.sum(heads_.mix(query_SHLd, key_SGLd, value_SGLd, sequences, mask, draws), parts);
}

at::Tensor Attention::seen_in_window(int64_t length, at::Device device) const {
  const at::Tensor all_LL = at::ones({length, length}, at::TensorOptions(at::kBool).device(device));
  return all_LL.tril().triu(1 - shape_.window);
}

}  // namespace moetrain
