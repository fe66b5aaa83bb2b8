#include "launch/interchange/families/decoder.h"

#include <algorithm>

#include "launch/interchange/families/rope.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

/// Before lists of that length are made.
void check_layers(const ConfigKeys& keys, const ModelShape& shape) {
  constexpr int64_t kMost = 1000;  // model.layers
  const bool legal = shape.model.layers >= 1 && shape.model.layers <= kMost;
  if (keys.reads() && !legal) keys.refuse("num_hidden_layers", "is out of range; legal: 1 to 1000");
}

}  // namespace

void decoder_keys(ConfigKeys& keys, ModelShape& shape, const DecoderDefaults& defaults) {
  moetrain::ModelConfig& model = shape.model;
  keys.key("vocab_size", shape.vocabulary_size);
  if (keys.reads() && (shape.vocabulary_size < 1 || shape.vocabulary_size > 1 << 30)) {
    keys.refuse("vocab_size", "is out of range; legal: 1 to 2^30");
  }
  keys.key("hidden_size", model.width);
  keys.key("num_hidden_layers", model.layers);
  check_layers(keys, shape);
  keys.key("num_attention_heads", model.heads);
  // Absent it is the class's default, null as many as query heads.
  const bool as_query = defaults.kv_heads == 0 || keys.names("num_key_value_heads");
  keys.key("num_key_value_heads", model.kv_heads, as_query ? model.heads : defaults.kv_heads);
  if (model.heads < 1) keys.refuse("num_attention_heads", "is not at least 1");
  if (model.kv_heads < 1 || model.heads % model.kv_heads != 0) {
    keys.refuse("num_key_value_heads", parallel::concat("does not divide num_attention_heads = ", model.heads));
  }
  keys.fixed("hidden_act", "silu");
  int64_t positions = model.max_positions > 0 ? model.max_positions : shape.sequence_length;
  keys.key("max_position_embeddings", positions, defaults.max_positions);
  if (keys.reads()) model.max_positions = positions;
  keys.key("rms_norm_eps", model.norm_epsilon, defaults.epsilon);
  keys.key("tie_word_embeddings", model.tie_embeddings, false);
  rope_keys(keys, shape, defaults.rope_theta, defaults.rope);
  keys.at_most("rope_interleaved", false);
  keys.at_most("partial_rotary_factor", 1);
}

void head_width_key(ConfigKeys& keys, ModelShape& shape, int64_t otherwise) {
  moetrain::ModelConfig& model = shape.model;
  int64_t width = model.head_width();
  keys.key("head_dim", width, otherwise > 0 ? otherwise : model.width / model.heads);
  if (!keys.reads()) return;
  if (width < 2 || width % 2 != 0)
    keys.refuse("head_dim", parallel::concat("makes heads of width ", width, ", not even"));
  model.attending.head_width = width * model.heads == model.width ? 0 : width;
}

void undeclared_head_width_key(ConfigKeys& keys, ModelShape& shape) {
  const moetrain::ModelConfig& model = shape.model;
  if (keys.reads() || model.head_width() * model.heads != model.width) head_width_key(keys, shape, 0);
}

void attention_bias_key(ConfigKeys& keys, ModelShape& shape) {
  bool bias = shape.model.attending.bias == moetrain::ProjectionBias::kAll;
  keys.key("attention_bias", bias, false);
  if (keys.reads())
    shape.model.attending.bias = bias ? moetrain::ProjectionBias::kAll : moetrain::ProjectionBias::kNone;
}

void window_key(ConfigKeys& keys, ModelShape& shape, int64_t otherwise) {
  int64_t& window = shape.model.attending.window;
  if (!keys.reads()) return keys.write("sliding_window", window > 0 ? Json(window) : Json());
  if (keys.names("sliding_window") && keys.given("sliding_window") == nullptr) otherwise = 0;
  keys.key("sliding_window", window, otherwise);
  if (keys.given("sliding_window") != nullptr && window == 0) {
    keys.refuse("sliding_window", "lets no token see itself; legal: null, or at least 1");
  }
}

void layer_types_key(ConfigKeys& keys, ModelShape& shape, const std::vector<bool>& otherwise) {
  const char* const kWindow = "sliding_attention";
  const char* const kWhole = "full_attention";
  if (!keys.reads()) {
    Json types = Json::array();
    for (const bool windowed : moetrain::windowed_blocks(shape.model)) types.push_back(windowed ? kWindow : kWhole);
    return keys.write("layer_types", types);
  }
  std::vector<bool> windowed = otherwise;
  if (const Json* types = keys.given("layer_types")) {
    if (!types->is_array() || std::ssize(*types) != shape.model.layers) {
      keys.refuse("layer_types", "does not list num_hidden_layers types");
    }
    windowed.clear();
    for (const Json& type : *types) {
      if (type != kWindow && type != kWhole) {
        keys.refuse("layer_types", "has another type than \"full_attention\" and \"sliding_attention\"");
      }
      windowed.push_back(type == kWindow);
    }
  }
  const bool any = std::ranges::count(windowed, true) > 0;
  if (any && shape.model.attending.window == 0) {
    keys.refuse("layer_types", "has sliding_attention, but no sliding_window is in use");
  }
  if (!any) shape.model.attending.window = 0;
  if (any && std::ranges::count(windowed, false) > 0) shape.model.attending.windowed = spelt_out(windowed);
}

void sparse_keys(ConfigKeys& keys, ModelShape& shape) {
  if (!keys.reads()) {
    Json dense = Json::array();
    const std::vector<bool> sparse = moetrain::expert_blocks(shape.moe, moetrain::total_blocks(shape.model));
    for (size_t block = 0; block < sparse.size(); ++block) {
      if (!sparse[block]) dense.push_back(block);
    }
    keys.write("decoder_sparse_step", 1);
    return keys.write("mlp_only_layers", dense);
  }
  int64_t step = 1;
  keys.key("decoder_sparse_step", step, int64_t{1});
  if (step < 1) keys.refuse("decoder_sparse_step", "is not at least 1");
  std::vector<bool> sparse(static_cast<size_t>(shape.model.layers));
  for (size_t block = 0; block < sparse.size(); ++block) sparse[block] = static_cast<int64_t>(block + 1) % step == 0;
  if (const Json* dense = keys.given("mlp_only_layers")) {
    if (!dense->is_array()) keys.refuse("mlp_only_layers", "is no list");
    for (const Json& block : *dense) {
      if (!block.is_number_unsigned()) keys.refuse("mlp_only_layers", "lists what is no block");
      if (block.get<uint64_t>() < sparse.size()) sparse[block.get<size_t>()] = false;
    }
  }
  shape.moe.layers = spelt_out(sparse);
}

void norm_topk_key(ConfigKeys& keys, ModelShape& shape) {
  bool normed = shape.moe.gate == moetrain::Gate::kSum1;
  keys.key("norm_topk_prob", normed, false);
  if (keys.reads()) shape.moe.gate = normed ? moetrain::Gate::kSum1 : moetrain::Gate::kRaw;
}

void feed_forward_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to,
                          int64_t hidden) {
  rules.copy(to + "gate_proj.weight", from + "gate.weight", {hidden, shape.model.width});
  rules.copy(to + "up_proj.weight", from + "up.weight", {hidden, shape.model.width});
  rules.copy(to + "down_proj.weight", from + "down.weight", {shape.model.width, hidden});
}

void feed_forward_biases(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to,
                         int64_t hidden) {
  rules.copy(to + "gate_proj.bias", from + "gate.bias", {hidden});
  rules.copy(to + "up_proj.bias", from + "up.bias", {hidden});
  rules.copy(to + "down_proj.bias", from + "down.bias", {shape.model.width});
}

namespace {

/// And both norms of the block.
void attention_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to) {
  const moetrain::ModelConfig& model = shape.model;
  const moetrain::AttentionConfig& attention = model.attending;
  const int64_t query = model.heads * model.head_width(), kv = model.kv_heads * model.head_width();
  const auto projection = [&](const std::string& there, const std::string& here, int64_t out, int64_t in, bool bias) {
    rules.copy(to + "self_attn." + there + ".weight", from + "attention." + here + ".weight", {out, in});
    if (bias) rules.copy(to + "self_attn." + there + ".bias", from + "attention." + here + ".bias", {out});
  };
  const bool bias = attention.bias != moetrain::ProjectionBias::kNone;
  rules.copy(to + "input_layernorm.weight", from + "attention_norm.weight", {model.width});
  rules.copy(to + "post_attention_layernorm.weight", from + "ffn_norm.weight", {model.width});
  if (attention.kind == moetrain::AttentionKind::kLatent) {
    return latent_attention_tensors(rules, shape, from + "attention.", to + "self_attn.");
  }
  projection("q_proj", "query", query, model.width, bias);
  projection("k_proj", "key", kv, model.width, bias);
  projection("v_proj", "value", kv, model.width, bias);
  projection("o_proj", "output", model.width, query, attention.bias == moetrain::ProjectionBias::kAll);
  if (attention.norm != moetrain::QkNorm::kNone) {
    const bool all = attention.norm == moetrain::QkNorm::kAll;
    rules.copy(to + "self_attn.q_norm.weight", from + "attention.query_norm.weight",
               {all ? query : model.head_width()});
    rules.copy(to + "self_attn.k_norm.weight", from + "attention.key_norm.weight", {all ? kv : model.head_width()});
  }
  if (attention.sinks) rules.copy(to + "self_attn.sinks", from + "attention.sinks", {model.heads});
}

/// Rows first .. first + columns of each expert's matrix in a tensor of all experts, [experts, rows, inputs].
struct Together {
  std::string target, source;
  int64_t rows = 0, first = 0, inputs = 0, columns = 0;
};

void expert_tensors_together(TensorRules& rules, const ModelShape& shape, const Together& of) {
  const int64_t experts = shape.moe.experts;
  rules.add({.target = of.target,
             .target_shape = {experts, of.rows, of.inputs},
             .source = of.source,
             .source_shape = {experts, of.inputs, of.columns},
             .size = {experts, of.inputs, of.columns},
             .target_offset = of.first * of.inputs,
             .target_strides = {of.rows * of.inputs, 1, of.inputs}});
}

void expert_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& block,
                    const MoeNames& names) {
  const int64_t experts = shape.moe.experts, width = shape.model.width, hidden = shape.moe.hidden;
  const bool together = rules.experts() == ExpertsStored::kTogether;
  const std::string to = block + (together ? "mlp." : names.layer);
  rules.copy(to + "gate.weight", from + "router.weight", {experts, width});
  if (together) {
    expert_tensors_together(rules, shape,
                            {to + "experts.gate_up_proj", from + "experts.gate", 2 * hidden, 0, width, hidden});
    expert_tensors_together(rules, shape,
                            {to + "experts.gate_up_proj", from + "experts.up", 2 * hidden, hidden, width, hidden});
    return expert_tensors_together(rules, shape,
                                   {to + "experts.down_proj", from + "experts.down", width, 0, hidden, width});
  }
  for (int64_t expert = 0; expert < experts; ++expert) {
    const std::string there = to + "experts." + std::to_string(expert) + ".";
    rules.transposed(there + names.gate + ".weight", from + "experts.gate", {experts, expert, width, hidden});
    rules.transposed(there + names.up + ".weight", from + "experts.up", {experts, expert, width, hidden});
    rules.transposed(there + names.down + ".weight", from + "experts.down", {experts, expert, hidden, width});
  }
}

}  // namespace

void decoder_tensors(TensorRules& rules, const ModelShape& shape, const MoeNames& names,
                     void (*shared)(TensorRules&, const ModelShape&, const std::string&, const std::string&)) {
  const int64_t width = shape.model.width;
  rules.copy("model.embed_tokens.weight", "embedding.weight", {shape.vocabulary_size, width});
  const std::vector<bool> sparse = moetrain::expert_blocks(shape.moe, shape.model.layers);
  for (size_t block = 0; block < sparse.size(); ++block) {
    const std::string from = "blocks." + std::to_string(block) + ".";
    const std::string to = "model.layers." + std::to_string(block) + ".";
    attention_tensors(rules, shape, from, to);
    if (sparse[block]) {
      if (names.experts != nullptr) {
        names.experts(rules, shape, from + "moe.", to + names.layer);
      } else {
        expert_tensors(rules, shape, from + "moe.", to, names);
      }
      if (shared != nullptr) shared(rules, shape, from + "moe.", to + names.layer);
    } else {
      feed_forward_tensors(rules, shape, from + "feed_forward.", to + "mlp.", shape.model.ffn_hidden);
      if (shape.model.ffn_bias) {
        feed_forward_biases(rules, shape, from + "feed_forward.", to + "mlp.", shape.model.ffn_hidden);
      }
    }
  }
  rules.copy("model.norm.weight", "final_norm.weight", {width});
  const std::vector<int64_t> table = {shape.vocabulary_size, width};
  if (shape.model.tie_embeddings) return rules.again("lm_head.weight", "embedding.weight", table, Again::kAccepted);
  rules.copy("lm_head.weight", "head.weight", table);
}

}  // namespace launch::interchange
