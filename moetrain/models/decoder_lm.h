// defines: DecoderLm, ModelOutput, LayerRouting: a decoder-only language model, each block dense or MoE
#pragma once
#include <memory>
#include <vector>

#include "moetrain/layers/output_head.h"
#include "moetrain/layers/sequences.h"
#include "moetrain/models/model_config.h"
#include "moetrain/models/transformer_block.h"

namespace moetrain {

struct LayerRouting {
  int64_t layer = 0;  // number of the block
  RoutingDecision decision;
};

struct ModelOutput {
  at::Tensor hidden_TD;               // after the final norm; the head turns it into losses or logits
  LossTerms losses;                   // shares of the layers' own losses, summed over layers; empty in evaluation
  std::vector<LayerRouting> routing;  // of the MoE blocks
};

class DecoderLm : public torch::nn::Module {
 public:
  DecoderLm(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
            const parallel::NameTable<RouterPreset>& routers);

  /// tokens_SL: int64 [S, L], S may be 0. Collective over the scope's group.
  ModelOutput forward(const at::Tensor& tokens_SL, const BatchScope& scope);

  /// One place a sequence (or, with empty caches, a whole prompt): tokens_SL -> hidden_TD. caches: one for each block.
  at::Tensor decode(const at::Tensor& tokens_SL, const BatchScope& scope, std::vector<KeyValueCache>& caches);

  const OutputHead& head() const { return *head_; }
  const ModelConfig& config() const { return config_; }
  const MoeConfig& moe_config() const { return moe_config_; }
  int64_t vocabulary() const { return embedding_VD_.size(0); }
  ParameterCount parameter_count() const;

 private:
  ModelOutput run(const at::Tensor& tokens_SL, const BatchScope& scope, std::vector<KeyValueCache>* caches);

  ModelConfig config_;
  MoeConfig moe_config_;
  at::Tensor embedding_VD_;
  std::vector<std::shared_ptr<TransformerBlock>> blocks_;
  std::shared_ptr<Norm> final_norm_;
  std::shared_ptr<OutputHead> head_;
};

}  // namespace moetrain
