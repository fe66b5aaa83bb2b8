#include "launch/interchange/families/decoder.h"
#include "launch/interchange/families/families.h"

namespace launch::interchange {
namespace {

void llama_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {});
  head_width_key(keys, shape, 0);
  attention_bias_key(keys, shape);
  keys.key("intermediate_size", shape.model.ffn_hidden);
  keys.key("mlp_bias", shape.model.ffn_bias, false);
}

void mistral_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.kv_heads = 8, .max_positions = 4096 * 32});
  head_width_key(keys, shape, 0);
  keys.key("intermediate_size", shape.model.ffn_hidden);
  window_key(keys, shape, 4096);
}

void llama_tensors(TensorRules& rules, const ModelShape& shape) { decoder_tensors(rules, shape); }

}  // namespace

Family llama() { return {"llama", "LlamaForCausalLM", llama_keys, llama_tensors}; }

Family mistral() { return {"mistral", "MistralForCausalLM", mistral_keys, llama_tensors}; }

}  // namespace launch::interchange
