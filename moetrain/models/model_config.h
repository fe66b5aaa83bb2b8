// defines: ModelConfig, total_blocks, attention_blocks, windowed_blocks, visit
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "moetrain/attention/attention_config.h"
#include "moetrain/config/block_list.h"
#include "moetrain/config/layer_kinds.h"
#include "parallel/base/field.h"
#include "parallel/base/own_keys.h"

namespace moetrain {

/// The dense shape of a transformer. Which blocks hold experts instead of a dense feed-forward: MoeConfig::layers.
struct ModelConfig : parallel::HasOwnKeys {
  std::string kind = "decoder_lm";
  int64_t layers = 4;
  int64_t encoder_layers = 0;
  int64_t width = 192;
  std::string attention = "all";
  int64_t heads = 6;
  int64_t kv_heads = 2;
  int64_t ffn_hidden = 512;
  bool ffn_bias = false;
  parallel::Enum<Activation> activation = Activation::kSwiglu;
  parallel::Enum<NormKind> norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  double rope_theta = 10000.0;
  double dropout = 0.0;
  bool tie_embeddings = true;
  bool scaled_head = false;
  int64_t start_token = -1;
  double init_std = 0.02;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  AttentionConfig attending = {};  // the section [attention]
  /// Of a query and a key.
  int64_t head_width() const {
    const auto& latent = attending.own<LatentConfig>();
    if (attending.kind == AttentionKind::kLatent) return latent.plain_width + latent.turned_width;
    return attending.head_width > 0 ? attending.head_width : width / heads;
  }
};

/// Of encoder and decoder; the encoder's come first wherever blocks are numbered.
inline int64_t total_blocks(const ModelConfig& config) { return config.encoder_layers + config.layers; }

/// Of those blocks, which attend to their own side: ModelConfig::attention.
inline std::vector<bool> attention_blocks(const ModelConfig& config) {
  return chosen_blocks({"model.attention", "attention"}, config.attention, total_blocks(config));
}

/// Of those, which see a window alone: AttentionConfig::windowed.
inline std::vector<bool> windowed_blocks(const ModelConfig& config) {
  if (config.attending.window == 0) return std::vector<bool>(static_cast<size_t>(total_blocks(config)), false);
  return chosen_blocks({"attention.windowed", "a window"}, config.attending.windowed, total_blocks(config));
}

template <class Visitor>
void visit(ModelConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(),
        "language model, transformer of translation, or what says the group of a whole document");
  field("layers", config.layers, between(1, 1000), "transformer blocks; of the decoder where there is an encoder");
  field("encoder_layers", config.encoder_layers, between(0, 1000), "blocks of the encoder; 0: none");
  field("width", config.width, between(2, 1 << 20), "model width; heads must divide it, into even parts");
  field("attention", config.attention, anything(),
        "blocks with attention, as moe.layers names those with experts; the others see each token alone");
  field("heads", config.heads, between(1, 4096), "query heads");
  field("kv_heads", config.kv_heads, between(1, 4096), "key/value heads; must divide heads");
  field("ffn_hidden", config.ffn_hidden, between(1, 1 << 24), "hidden width of a dense feed-forward");
  field("ffn_bias", config.ffn_bias, anything(), "the matrices of dense feed-forwards have biases");
  field("activation", config.activation, anything(), "of dense feed-forwards and experts");
  field("norm", config.norm, anything(), "RMSNorm or LayerNorm");
  field("norm_epsilon", config.norm_epsilon, above(0), "added to the variance");
  field("rope_theta", config.rope_theta, above(1), "base of the rotary position frequencies");
  field("dropout", config.dropout, half_open(0, 1), "in training, of embeddings and of what each layer adds; 0: none");
  field("tie_embeddings", config.tie_embeddings, anything(),
        "output head shares the embedding's weight, where it predicts tokens");
  field("scaled_head", config.scaled_head, anything(),
        "what the output head sees is divided by the root of the width, as T5's tied head has it");
  field("start_token", config.start_token, between(-1, 1 << 30),
        "what an encoder's decoder begins with; -1: the end of text (T5: 0, its fill token)");
  field("init_std", config.init_std, above(0),
        "standard deviation of initial weights; residual outputs get it / sqrt(2 layers)");
  field("vocabulary", config.vocabulary, between(0, 1 << 30),
        "rows of the embedding, for models whose have more than the tokenizer has tokens; 0: as many");
  field("max_positions", config.max_positions, between(0, 1 << 30),
        "[tokens] longest sequence that an export says the model is for; 0: data.sequence_length");
}

}  // namespace moetrain
