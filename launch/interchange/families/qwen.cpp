#include "launch/interchange/families/decoder.h"
#include "launch/interchange/families/families.h"

namespace launch::interchange {
namespace {

using moetrain::ProjectionBias, moetrain::QkNorm;

/// use_sliding_window, sliding_window, max_window_layers and layer_types. `slides`: of a block, where no types are
/// listed.
void window_keys(ConfigKeys& keys, ModelShape& shape, bool (*slides)(int64_t block, int64_t max_window_layers)) {
  int64_t& window = shape.model.attending.window;
  bool used = window > 0;
  keys.key("use_sliding_window", used, false);
  if (!keys.reads()) {
    keys.write("sliding_window", window > 0 ? Json(window) : Json());
    keys.inert({"max_window_layers"});  // layer_types says it all
    return layer_types_key(keys, shape, {});
  }
  int64_t length = 0, most = 0;
  keys.key("sliding_window", length, int64_t{4096});
  keys.key("max_window_layers", most, int64_t{28});
  if (used && length == 0) keys.refuse("sliding_window", "lets no token see itself; legal: at least 1");
  window = used ? length : 0;
  std::vector<bool> windowed;
  for (int64_t block = 0; block < shape.model.layers; ++block) windowed.push_back(used && slides(block, most));
  layer_types_key(keys, shape, windowed);
}

void qwen2_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.kv_heads = 32, .max_positions = 32768});
  undeclared_head_width_key(keys, shape);
  keys.key("intermediate_size", shape.model.ffn_hidden);
  shape.model.attending.bias = ProjectionBias::kQkv;
  window_keys(keys, shape, [](int64_t block, int64_t most) { return block >= most; });
}

void qwen3_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.kv_heads = 32, .max_positions = 32768});
  head_width_key(keys, shape, 128);
  attention_bias_key(keys, shape);
  keys.key("intermediate_size", shape.model.ffn_hidden);
  shape.model.attending.norm = QkNorm::kHead;
  window_keys(keys, shape, [](int64_t block, int64_t most) { return block >= most; });
}

void qwen_tensors(TensorRules& rules, const ModelShape& shape) { decoder_tensors(rules, shape); }

/// Experts and which blocks have them.
void mixture_keys(ConfigKeys& keys, ModelShape& shape) {
  keys.key("intermediate_size", shape.model.ffn_hidden);
  keys.key("moe_intermediate_size", shape.moe.hidden);
  keys.key("num_experts_per_tok", shape.moe.top_k);
  norm_topk_key(keys, shape);
  sparse_keys(keys, shape);
}

void qwen2_moe_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.kv_heads = 16, .max_positions = 32768});
  undeclared_head_width_key(keys, shape);
  mixture_keys(keys, shape);
  keys.key("num_experts", shape.moe.experts);
  keys.key("shared_expert_intermediate_size", shape.moe.shared_hidden);
  bool bias = shape.model.attending.bias == ProjectionBias::kQkv;
  keys.key("qkv_bias", bias, true);
  if (keys.reads()) shape.model.attending.bias = bias ? ProjectionBias::kQkv : ProjectionBias::kNone;
  window_keys(keys, shape, [](int64_t block, int64_t most) { return block % 2 == 0 && block < most; });
}

/// A shared expert is demanded: one unit wide with all weights zero adds exactly zero. An ungated one stands behind a
/// gate of zeros.
ModelShape with_gated_shared_expert(ModelShape shape) {
  if (shape.moe.shared_hidden == 0) shape.moe.shared_hidden = 1;
  shape.moe.shared_gate = true;
  return shape;
}

void shared_expert_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from,
                           const std::string& to) {
  const int64_t width = shape.model.width;
  if (shape.moe.shared_hidden == 0) {
    rules.zeros(to + "shared_expert.gate_proj.weight", {1, width});
    rules.zeros(to + "shared_expert.up_proj.weight", {1, width});
    rules.zeros(to + "shared_expert.down_proj.weight", {width, 1});
    return rules.zeros(to + "shared_expert_gate.weight", {1, width});
  }
  feed_forward_tensors(rules, shape, from + "shared.", to + "shared_expert.", shape.moe.shared_hidden);
  if (shape.moe.shared_gate) {
    return rules.copy(to + "shared_expert_gate.weight", from + "shared_gate.weight", {1, width});
  }
  // A zero gate is sigmoid(0) = 1/2; twice the output weights make up for it, exactly.
  rules.scale(2);
  rules.zeros(to + "shared_expert_gate.weight", {1, width});
}

void qwen2_moe_tensors(TensorRules& rules, const ModelShape& shape) {
  decoder_tensors(rules, shape, {}, shared_expert_tensors);
}

void qwen3_moe_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.kv_heads = 4, .max_positions = 32768});
  undeclared_head_width_key(keys, shape);
  attention_bias_key(keys, shape);
  mixture_keys(keys, shape);
  shape.model.attending.norm = QkNorm::kHead;
  // transformers 5 writes the one, published folders have the other.
  const bool newer = keys.reads() && keys.given("num_local_experts") != nullptr;
  keys.key(newer ? "num_local_experts" : "num_experts", shape.moe.experts);
  int64_t& window = shape.model.attending.window;
  bool used = window > 0;
  keys.key("use_sliding_window", used, false);
  keys.inert({"max_window_layers"});
  if (!keys.reads()) return keys.write("sliding_window", window > 0 ? Json(window) : Json());
  keys.key("sliding_window", window, int64_t{4096});
  if (!used) window = 0;
}

}  // namespace

Family qwen2() { return {"qwen2", "Qwen2ForCausalLM", qwen2_keys, qwen_tensors}; }

Family qwen3() { return {"qwen3", "Qwen3ForCausalLM", qwen3_keys, qwen_tensors}; }

Family qwen2_moe() {
  return {"qwen2_moe", "Qwen2MoeForCausalLM", qwen2_moe_keys, qwen2_moe_tensors, with_gated_shared_expert};
}

Family qwen3_moe() { return {"qwen3_moe", "Qwen3MoeForCausalLM", qwen3_moe_keys, qwen_tensors}; }

}  // namespace launch::interchange
