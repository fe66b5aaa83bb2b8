#include "moetrain/models/decoder_lm.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/models/models.h"

namespace moetrain {

DecoderLm::DecoderLm(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
                     const MoeTables& tables)
    : Model(config, moe, source) {
  add_embedding(source, vocabulary);
  const StackShape blocks = stacks(config).front();
  blocks_ =
      register_module(blocks.name, std::make_shared<BlockStack>(source.at(blocks.name), config, moe, blocks, tables));
  add_head(source);
}

ModelOutput DecoderLm::forward(const ModelInputs& inputs, const PassScope& pass) {
  return run(inputs.tokens, pass, nullptr);
}

at::Tensor DecoderLm::decode(const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>& caches) {
  return run(tokens, pass, &caches).hidden_TD;
}

ModelOutput DecoderLm::run(const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>* caches) {
  ModelOutput output;
  const BatchScope scope = scope_of(tokens, pass);
  const at::Tensor x_TD = embedding_->forward(tokens.ids_T, scope, "dropout, embedding");
  const BlockStack::Context context{
      .scope = scope, .caches = caches, .recompute = caches == nullptr ? pass.recompute : Recompute::kNone};
  output.hidden_TD = for_head(blocks_->forward(x_TD, context, output));
  return output;
}

ModelPreset decoder_lm() {
  return {.make = make_model<DecoderLm>, .stacks = DecoderLm::stacks, .check = check_without_encoder};
}

}  // namespace moetrain
