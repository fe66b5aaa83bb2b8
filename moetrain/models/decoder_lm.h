// defines: DecoderLm: a decoder-only language model, each block dense or MoE
#pragma once
#include <memory>
#include <vector>

#include "moetrain/models/block_stack.h"

namespace moetrain {

class DecoderLm : public Model {
 public:
  DecoderLm(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
            const MoeTables& tables);
  static std::vector<StackShape> stacks(const ModelConfig& config) { return {{"blocks", 0, config.layers}}; }

  ModelOutput forward(const ModelInputs& inputs, const PassScope& pass) override;

  /// The next place of each sequence (or, with empty caches, whole prompts, of any lengths) -> hidden_TD.
  at::Tensor decode(const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>& caches);

 private:
  ModelOutput run(const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>* caches);

  std::shared_ptr<BlockStack> blocks_;
};

}  // namespace moetrain
