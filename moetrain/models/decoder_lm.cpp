#include "moetrain/models/decoder_lm.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/models/models.h"

namespace moetrain {

DecoderLm::DecoderLm(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
                     const MoeTables& tables)
    : Model(config, moe, source) {
  add_embedding(source, vocabulary);
  add_pre_gate(source, vocabulary);
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
  BatchScope scope = scope_of(tokens, pass);
  std::span<BlockCache> of_blocks;
  std::vector<KeyValueCache*> of_pre_gate;
  if (caches != nullptr) {
    const auto blocks = static_cast<size_t>(config().layers);
    caches->resize(blocks + (pre_gate_ ? static_cast<size_t>(pre_gate_->blocks()) : 0));
    of_blocks = std::span(*caches).first(blocks);
    for (BlockCache& cache : std::span(*caches).subspan(blocks)) of_pre_gate.push_back(&cache.own);
  }
  if (pre_gate_) scope.pre_gate_TE = scope.parts.own(pre_gate_->forward(tokens.ids_T, tokens.sequences, of_pre_gate));
  const at::Tensor x_TD = embedding_->forward(tokens.ids_T, scope, "dropout, embedding");
  const BlockStack::Context context{
      .scope = scope, .caches = of_blocks, .recompute = caches == nullptr ? pass.recompute : Recompute::kNone};
  output.hidden_TD = for_head(blocks_->forward(x_TD, context, output));
  return output;
}

ModelPreset decoder_lm() {
  return {
      .make = make_model<DecoderLm>, .pre_gates = true, .stacks = DecoderLm::stacks, .check = check_without_encoder};
}

}  // namespace moetrain
