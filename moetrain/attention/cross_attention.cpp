#include "moetrain/attention/cross_attention.h"

#include <ATen/ATen.h>

#include "moetrain/layers/no_tokens.h"
#include "parallel/base/fault.h"

namespace moetrain {

CrossAttention::CrossAttention(const ParameterSource& source, const AttentionShape& shape, double std,
                               double output_std)
    : heads_(*this, source, shape, std, output_std) {}

MemoryKeys CrossAttention::keys(const Memory& memory) const {
  return {heads_.key(memory.hidden_TD, memory.sequences, /*parts=*/{}),
          heads_.value(memory.hidden_TD, memory.sequences),
          memory.sequences.uniform() ? at::Tensor() : memory.sequences.there_SL()};
}

at::Tensor CrossAttention::forward(const at::Tensor& input_TD, const Sequences& sequences, const MemoryKeys& memory,
                                   const parallel::TokenParts& parts) const {
  // Without tokens there is nothing to attend with, but backward must reach the encoder here as on the other ranks,
  // whose collectives wait for it.
  if (sequences.tokens() == 0) {
    return zeros_of(*this, input_TD) + 0 * (memory.key_SGLd.sum() + memory.value_SGLd.sum());
  }
  parallel::check_internal(parts.ranks() == heads_.ranks(), "CrossAttention: tokens of ", parts.ranks(),
                           " ranks, heads of ", heads_.ranks());
  const at::Tensor query_SHLd = heads_.query(parts.gather(input_TD), sequences, parts);
  AttentionMask mask;
  if (memory.there_SL.defined()) mask.seen = memory.there_SL.unsqueeze(1).unsqueeze(1);
  const at::Tensor mixed_SHLd = heads_.product().of(query_SHLd, memory.key_SGLd, memory.value_SGLd, mask);
  return heads_.sum(heads_.output(mixed_SHLd, sequences), parts);
}

}  // namespace moetrain
