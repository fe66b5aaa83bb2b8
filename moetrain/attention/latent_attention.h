// defines: LatentAttention: self-attention whose keys and values come from a narrow latent
#pragma once
#include "moetrain/attention/attention.h"
#include "moetrain/layers/norm.h"

namespace moetrain {

/// Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2, section 2.1). A head's query and key have a plain part
/// and one that is turned to its position; keys' plain parts and values are made of one latent of kv_rank numbers a
/// token, keys' turned part is one for all heads. Queries come of a latent too where query_rank > 0. A tensor group
/// shares the heads; the projections down to latents are whole on every rank. Parameters: query, or query_down,
/// query_norm and query_up; kv_down, kv_norm, kv_up; output.
class LatentAttention : public SelfAttention {
 public:
  LatentAttention(const ParameterSource& source, const AttentionShape& shape, double std, double output_std);

  at::Tensor forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                     const parallel::TokenParts& parts = {}, const AdapterDraws& draws = {},
                     const at::Tensor& bias_1HLK = {}) const override;

 private:
  /// [S, H, L, plain + turned], the second part at its places behind those of the cache.
  at::Tensor queries(const at::Tensor& all_TD, const Sequences& sequences, const KeyValueCache* cache,
                     const AdapterDraws& draws) const;
  at::Tensor turned(const at::Tensor& x_SHLr, const KeyValueCache* cache) const;

  AttentionShape shape_;
  LatentConfig latent_;
  int64_t ranks_;
  double scale_;
  Rotary rotary_;
  std::shared_ptr<Linear> query_, query_down_, query_up_, kv_down_, kv_up_, output_;
  std::shared_ptr<Norm> query_norm_, kv_norm_;
};

}  // namespace moetrain
