// What the decoder-only families share. defines: DecoderDefaults, decoder_keys, head_width_key,
// undeclared_head_width_key, attention_bias_key, window_key, layer_types_key, sparse_keys, norm_topk_key, MoeNames,
// latent_attention_tensors, decoder_tensors, feed_forward_tensors, feed_forward_biases
#pragma once
#include <string>
#include <vector>

#include "launch/interchange/family.h"

namespace launch::interchange {

// D width, H query heads, G key/value heads, d head width, F hidden width, V vocabulary, E experts

/// What transformers takes for keys that a config.json does not give.
struct DecoderDefaults {
  int64_t kv_heads = 0;  // 0: as many as query heads
  double epsilon = 1e-6;
  double rope_theta = 10000.0;
  int64_t max_positions = 2048;
  Json rope = {};  // rope_parameters, where neither they nor rope_scaling are given
};

/// Widths, heads, norm, rotary positions, tied embeddings; all but feed-forwards and experts.
void decoder_keys(ConfigKeys& keys, ModelShape& shape, const DecoderDefaults& defaults);

/// head_dim; `otherwise` where it is absent, 0 being hidden_size / heads. After decoder_keys.
void head_width_key(ConfigKeys& keys, ModelShape& shape, int64_t otherwise);

/// Likewise of a family whose config does not declare it: written only where it is not hidden_size / heads.
void undeclared_head_width_key(ConfigKeys& keys, ModelShape& shape);

/// attention_bias: of all four projections, or none.
void attention_bias_key(ConfigKeys& keys, ModelShape& shape);

/// sliding_window, of every block; `otherwise` where it is absent, null being none.
void window_key(ConfigKeys& keys, ModelShape& shape, int64_t otherwise);

/// Which blocks see a window, by name: layer_types, or, where it is absent, `otherwise` (by block).
void layer_types_key(ConfigKeys& keys, ModelShape& shape, const std::vector<bool>& otherwise);

/// decoder_sparse_step and mlp_only_layers: which blocks have experts.
void sparse_keys(ConfigKeys& keys, ModelShape& shape);

/// norm_topk_prob: whether the chosen experts' weights sum to 1.
void norm_topk_key(ConfigKeys& keys, ModelShape& shape);

/// How the tensors of a mixture are called below "model.layers.N.".
struct MoeNames {
  std::string layer = "mlp.";
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";  // of an expert
  /// Router and experts, where they are not kept expert by expert.
  void (*experts)(TensorRules& rules, const ModelShape& shape, const std::string& from,
                  const std::string& to) = nullptr;
};

/// Of multi-head latent attention, under "blocks.0.attention." here and "model.layers.0.self_attn." there.
void latent_attention_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from,
                              const std::string& to);

/// All tensors but those of a shared expert, which `shared`, if not null, adds for a block with experts, given the
/// beginnings of its names here ("blocks.0.moe.") and there ("model.layers.0.mlp.").
void decoder_tensors(TensorRules& rules, const ModelShape& shape, const MoeNames& names = {},
                     void (*shared)(TensorRules& rules, const ModelShape& shape, const std::string& from,
                                    const std::string& to) = nullptr);

/// gate, up and down of a dense feed-forward or a shared expert, F = hidden.
void feed_forward_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to,
                          int64_t hidden);

/// Their biases.
void feed_forward_biases(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to,
                         int64_t hidden);

}  // namespace launch::interchange
