#include "launch/interchange/families/decoder.h"
#include "launch/interchange/families/families.h"

namespace launch::interchange {
namespace {

void olmoe_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.epsilon = 1e-5, .max_positions = 4096});
  attention_bias_key(keys, shape);
  if (keys.reads()) {
    keys.key("clip_qkv", shape.model.attending.clip, 0.0);
  } else {
    keys.write("clip_qkv", shape.model.attending.clip > 0 ? Json(shape.model.attending.clip) : Json());
  }
  keys.key("intermediate_size", shape.moe.hidden);
  keys.key("num_experts", shape.moe.experts);
  keys.key("num_experts_per_tok", shape.moe.top_k);
  norm_topk_key(keys, shape);
  shape.moe.layers = "all";
  shape.model.attending.norm = moetrain::QkNorm::kAll;
}

void olmoe_tensors(TensorRules& rules, const ModelShape& shape) { decoder_tensors(rules, shape); }

}  // namespace

Family olmoe() { return {"olmoe", "OlmoeForCausalLM", olmoe_keys, olmoe_tensors}; }

}  // namespace launch::interchange
