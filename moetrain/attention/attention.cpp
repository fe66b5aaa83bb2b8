#include "moetrain/attention/attention.h"

#include <ATen/ATen.h>

#include "moetrain/attention/latent_attention.h"
#include "moetrain/layers/no_tokens.h"
#include "parallel/base/fault.h"

namespace moetrain {

std::shared_ptr<SelfAttention> make_self_attention(const ParameterSource& source, const AttentionShape& shape,
                                                   double std, double output_std) {
  if (shape.options.kind == AttentionKind::kLatent) {
    return std::make_shared<LatentAttention>(source, shape, std, output_std);
  }
  return std::make_shared<Attention>(source, shape, std, output_std);
}

Attention::Attention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std)
    : side_(shape, source.options()), heads_(*this, source, shape, std, output_std) {}

at::Tensor Attention::forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                              const parallel::TokenParts& parts, const AdapterDraws& draws,
                              const at::Tensor& bias_1HLK) const {
  if (sequences.tokens() == 0) return zeros_of(*this, input_TD);  // nor has any other rank of the group
  parallel::check_internal(parts.ranks() == heads_.ranks(), "Attention: tokens of ", parts.ranks(), " ranks, heads of ",
                           heads_.ranks());
  const at::Tensor all_TD = parts.gather(input_TD);
  const at::Tensor mixed_SHLd =
      side_.mix({heads_.query(all_TD, sequences, parts, draws), heads_.key(all_TD, sequences, parts, draws),
                 heads_.value(all_TD, sequences, draws)},
                heads_.product(), sequences, cache, bias_1HLK);
  return heads_.sum(heads_.output(mixed_SHLd, sequences, draws), parts);
}

}  // namespace moetrain
