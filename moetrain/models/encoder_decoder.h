// defines: EncoderDecoder: the transformer of translation, each block dense or MoE
#pragma once
#include <memory>
#include <vector>

#include "moetrain/models/block_stack.h"

namespace moetrain {

/// Vaswani et al. 2017 with norms before each layer: an encoder that sees all of the source, and a decoder that sees
/// the target so far and the encoder's output. One embedding serves source, target and (tie_embeddings) the head.
/// Blocks are numbered encoder first: MoeConfig::layers chooses among all of them.
class EncoderDecoder : public Model {
 public:
  EncoderDecoder(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
                 const MoeTables& tables);
  static std::vector<StackShape> stacks(const ModelConfig& config);

  ModelOutput forward(const ModelInputs& inputs, const PassScope& pass) override;

  /// Collective, as forward is.
  Memory encode(const TokenSide& source, const PassScope& pass);
  /// The next place of each sequence -> hidden_TD. With empty caches their keys of the memory are made first; from then
  /// on row s of the caches belongs to sequence s of the tokens, whoever has reordered them meanwhile.
  at::Tensor decode(const TokenSide& tokens, const PassScope& pass, const Memory& memory,
                    std::vector<BlockCache>& caches);

 private:
  Memory encode(const TokenSide& source, const PassScope& pass, ModelOutput& output);

  std::shared_ptr<BlockStack> encoder_, decoder_;
  std::shared_ptr<Norm> encoder_norm_;
};

}  // namespace moetrain
