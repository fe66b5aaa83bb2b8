#include "moetrain/attention/attention_product.h"

#include <ATen/ATen.h>

#include <limits>

#include "moetrain/attention/stick_breaking.h"
#include "moetrain/fused/attention.h"
#include "parallel/device/accelerator.h"

namespace moetrain {

at::Tensor AttentionProduct::of(const at::Tensor& query_SHLd, const at::Tensor& key_SGLd, const at::Tensor& value_SGLd,
                                const AttentionMask& mask) const {
  const bool plain = !mask.bias_1HLK.defined() && weights == AttentionWeights::kSoftmax;
  // Of one query in 16 bits, which has no loop of its own (of_next), the tiles would widen all keys for each head.
  const bool low_next = !at::GradMode::is_enabled() && query_SHLd.size(2) == 1 && !sinks_H.defined() &&
                        query_SHLd.scalar_type() == at::kBFloat16;
  if (plain && !low_next && has_attention(query_SHLd, key_SGLd, value_SGLd)) {
    return softmax_attention(query_SHLd, key_SGLd, value_SGLd,
                             {.seen = mask.seen, .causal = mask.causal, .scale = scale, .sinks_H = sinks_H});
  }
  if (!plain || sinks_H.defined()) return written_out(query_SHLd, key_SGLd, value_SGLd, mask);
  const int64_t shared = query_SHLd.size(1) / key_SGLd.size(1);
  // LibTorch's float32 kernel for GPUs knows no shared heads, and what it falls back to keeps the scores.
  if (shared > 1 && parallel::is_accelerator(query_SHLd.device()) && query_SHLd.scalar_type() == at::kFloat) {
    return of(query_SHLd, key_SGLd.repeat_interleave(shared, 1), value_SGLd.repeat_interleave(shared, 1), mask);
  }
  return at::scaled_dot_product_attention(query_SHLd, key_SGLd, value_SGLd, mask.seen, /*dropout_p=*/0.0, mask.causal,
                                          scale, /*enable_gqa=*/shared > 1);
}

at::Tensor AttentionProduct::of_next(const at::Tensor& query_SH1d, const at::Tensor& key_SGLd,
                                     const at::Tensor& value_SGLd, const std::vector<int64_t>& end_S,
                                     int64_t window) const {
  if (weights != AttentionWeights::kSoftmax || !has_next_attention(query_SH1d, key_SGLd, value_SGLd)) return {};
  return next_attention(query_SH1d, key_SGLd, value_SGLd,
                        {.end_S = end_S, .window = window, .scale = scale, .sinks_H = sinks_H});
}

// LibTorch's product has no place for a logit without a key, nor a gradient for what is added to logits. Softmax in at
// least float32, as it has.
at::Tensor AttentionProduct::written_out(const at::Tensor& query_SHLd, const at::Tensor& key_SGLd,
                                         const at::Tensor& value_SGLd, const AttentionMask& mask) const {
  const int64_t heads = query_SHLd.size(1), shared = heads / key_SGLd.size(1);
  const auto each_query_heads = [&](const at::Tensor& kv_SGLd) {
    return shared > 1 ? kv_SGLd.repeat_interleave(shared, 1) : kv_SGLd;
  };
  const auto wide = query_SHLd.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor logits_SHLK = at::matmul(query_SHLd * scale, each_query_heads(key_SGLd).transpose(2, 3)).to(wide);
  if (mask.bias_1HLK.defined()) logits_SHLK = logits_SHLK + mask.bias_1HLK.to(wide);
  const double never = -std::numeric_limits<double>::infinity();
  if (mask.seen) logits_SHLK = logits_SHLK.masked_fill(mask.seen->logical_not(), never);
  if (mask.causal) {
    const auto bools = query_SHLd.options().dtype(at::kBool);
    const at::Tensor later_LK = at::ones({logits_SHLK.size(2), logits_SHLK.size(3)}, bools).triu(1);
    logits_SHLK = logits_SHLK.masked_fill(later_LK, never);
  }
  return at::matmul(shares(logits_SHLK).to(query_SHLd.scalar_type()), each_query_heads(value_SGLd));
}

at::Tensor AttentionProduct::shares(const at::Tensor& logits_SHLK) const {
  if (weights == AttentionWeights::kStickBreaking) return stick_breaking(logits_SHLK);
  if (!sinks_H.defined()) return logits_SHLK.softmax(3);
  const int64_t S = logits_SHLK.size(0), H = logits_SHLK.size(1), L = logits_SHLK.size(2);
  const at::Tensor sink_SHL1 = sinks_H.to(logits_SHLK.scalar_type()).view({1, H, 1, 1}).expand({S, H, L, 1});
  return at::cat({logits_SHLK, sink_SHL1}, 3).softmax(3).narrow(3, 0, logits_SHLK.size(3));
}

}  // namespace moetrain
