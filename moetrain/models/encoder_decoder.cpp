#include "moetrain/models/encoder_decoder.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/models/models.h"
#include "parallel/base/fault.h"

namespace moetrain {

EncoderDecoder::EncoderDecoder(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary,
                               const ParameterSource& source, const MoeTables& tables)
    : Model(config, moe, source) {
  if (config.start_token >= vocabulary) {
    parallel::user_error("model.start_token (", config.start_token, ") is no token of the model's ", vocabulary,
                         "; legal: -1 to ", vocabulary - 1);
  }
  add_embedding(source, vocabulary);
  const auto stack = [&](const StackShape& shape) {
    return register_module(shape.name, std::make_shared<BlockStack>(source.at(shape.name), config, moe, shape, tables));
  };
  const std::vector<StackShape> shapes = stacks(config);
  encoder_ = stack(shapes[0]);
  encoder_norm_ = add_norm(source, "encoder_norm");
  decoder_ = stack(shapes[1]);
  add_head(source);
}

std::vector<StackShape> EncoderDecoder::stacks(const ModelConfig& config) {
  return {{.name = "encoder", .blocks = config.encoder_layers, .causal = false, .side = Side::kSource},
          {.name = "decoder", .first_layer = config.encoder_layers, .blocks = config.layers, .cross = true}};
}

Memory EncoderDecoder::encode(const TokenSide& source, const PassScope& pass, ModelOutput& output) {
  const BatchScope scope = scope_of(source, pass);
  const at::Tensor x_TD = embedding_->forward(source.ids_T, scope, "dropout, source embedding");
  const BlockStack::Context context{.scope = scope, .recompute = pass.recompute};
  const at::Tensor out_TD = encoder_->forward(x_TD, context, output);
  return {scope.parts.gather(encoder_norm_->forward(out_TD)), source.sequences};
}

Memory EncoderDecoder::encode(const TokenSide& source, const PassScope& pass) {
  ModelOutput unused;
  return encode(source, pass, unused);
}

ModelOutput EncoderDecoder::forward(const ModelInputs& inputs, const PassScope& pass) {
  parallel::check_internal(inputs.source.has_value(), "EncoderDecoder: there is no source");
  ModelOutput output;
  const Memory memory = encode(*inputs.source, pass, output);
  const BatchScope scope = scope_of(inputs.tokens, pass);
  const at::Tensor x_TD = embedding_->forward(inputs.tokens.ids_T, scope, "dropout, embedding");
  const BlockStack::Context context{.scope = scope, .memory = &memory, .recompute = pass.recompute};
  output.hidden_TD = for_head(decoder_->forward(x_TD, context, output));
  return output;
}

at::Tensor EncoderDecoder::decode(const TokenSide& tokens, const PassScope& pass, const Memory& memory,
                                  std::vector<BlockCache>& caches) {
  ModelOutput unused;
  caches.resize(static_cast<size_t>(config().layers));
  const BatchScope scope = scope_of(tokens, pass);
  const at::Tensor x_TD = embedding_->forward(tokens.ids_T, scope, "dropout, embedding");
  const BlockStack::Context context{.scope = scope, .memory = &memory, .caches = caches};
  return for_head(decoder_->forward(x_TD, context, unused));
}

namespace {

void check_encoder(const ModelConfig& config) {
  if (config.encoder_layers > 0) return;
  parallel::user_error("model.encoder_layers (0) and model.kind (\"", config.kind,
                       "\") contradict: there is no encoder; legal: encoder_layers of at least 1");
}

}  // namespace

ModelPreset encoder_decoder() {
  return {.make = make_model<EncoderDecoder>,
          .reads = Reads::kPairs,
          .stacks = EncoderDecoder::stacks,
          .check = check_encoder};
}

}  // namespace moetrain
