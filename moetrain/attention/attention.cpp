#include "moetrain/attention/attention.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"

namespace moetrain {

Attention::Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std)
    : shape_(shape),
      rotary_(shape.width / shape.heads, shape.rope_theta, source.options()),
      heads_(*this, source, shape, std, output_std) {}

at::Tensor Attention::forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                              const parallel::TokenParts& parts) const {
  if (sequences.tokens() == 0) return at::zeros_like(input_TD);  // nor has any other rank of the group
  const int64_t past = cache != nullptr ? cache->length() : 0;
  parallel::check_internal(past == 0 || sequences.longest() == 1, "Attention: ", sequences.longest(),
                           " places after a cache of ", past, "; one at a time");
  parallel::check_internal(parts.ranks() == heads_.ranks(), "Attention: tokens of ", parts.ranks(), " ranks, heads of ",
                           heads_.ranks());
  const at::Tensor all_TD = parts.gather(input_TD);
  const auto placed = [&](const at::Tensor& x_SHLd) { return shape_.rotary ? rotary_.rotate(x_SHLd, past) : x_SHLd; };
  const at::Tensor query_SHLd = placed(heads_.query(all_TD, sequences));
  at::Tensor key_SGLd = placed(heads_.key(all_TD, sequences));
  at::Tensor value_SGLd = heads_.value(all_TD, sequences);
  if (cache != nullptr) {
    if (past > 0) {
      key_SGLd = at::cat({cache->key_SGLd, key_SGLd}, 2);
      value_SGLd = at::cat({cache->value_SGLd, value_SGLd}, 2);
    }
    cache->key_SGLd = key_SGLd;
    cache->value_SGLd = value_SGLd;
  }
  // Padding follows a sequence, so a causal token never sees it; its own rows are thrown away.
  AttentionHeads::Mask mask{.causal = shape_.causal && past == 0};
  if (!shape_.causal && !sequences.uniform()) mask.seen = sequences.there_SL().unsqueeze(1).unsqueeze(1);
  return parts.sum(heads_.mix(query_SHLd, key_SGLd, value_SGLd, sequences, mask));
}

}  // namespace moetrain
