#include "launch/interchange/families/decoder.h"
#include "launch/interchange/families/families.h"

namespace launch::interchange {
namespace {

void mixtral_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {.kv_heads = 8, .epsilon = 1e-5, .rope_theta = 1e6, .max_positions = 4096 * 32});
  head_width_key(keys, shape, 0);
  window_key(keys, shape, 0);
  keys.key("intermediate_size", shape.moe.hidden);
  keys.key("num_local_experts", shape.moe.experts);
  keys.key("num_experts_per_tok", shape.moe.top_k, int64_t{2});
  shape.moe.layers = "all";
  shape.moe.gate = moetrain::Gate::kSum1;
}

void mixtral_tensors(TensorRules& rules, const ModelShape& shape) {
  decoder_tensors(rules, shape, {.layer = "block_sparse_moe.", .gate = "w1", .up = "w3", .down = "w2"});
}

}  // namespace

Family mixtral() { return {"mixtral", "MixtralForCausalLM", mixtral_keys, mixtral_tensors}; }

}  // namespace launch::interchange
