// defines: TransformerBlock: attention, then a dense feed-forward or an MoE layer, each behind its norm
#pragma once
#include <memory>
#include <optional>

#include "moetrain/layers/attention.h"
#include "moetrain/layers/norm.h"
#include "moetrain/models/model_config.h"
#include "moetrain/moe/moe_layer.h"

namespace moetrain {

/// x += attention(norm(x)); x += feed_forward_or_moe(norm(x))
class TransformerBlock : public torch::nn::Module {
 public:
  struct Output {
    at::Tensor out_TD;
    std::optional<MoeOutput> moe;  // its out_TD is not kept
  };
  /// `moe` null: a dense block. `layer`: its number.
  TransformerBlock(const ParameterSource& source, const ModelConfig& config, const MoeConfig* moe, int64_t layer,
                   const parallel::NameTable<RouterPreset>& routers);

  Output forward(at::Tensor x_TD, int64_t sequence_length, const BatchScope& scope, KeyValueCache* cache);

 private:
  std::shared_ptr<Norm> attention_norm_, ffn_norm_;
  std::shared_ptr<Attention> attention_;
  std::shared_ptr<FeedForward> feed_forward_;  // one of these two is null
  std::shared_ptr<MoeLayer> moe_;
};

}  // namespace moetrain
