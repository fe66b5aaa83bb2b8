#include <algorithm>

#include "launch/interchange/families/decoder.h"
#include "launch/interchange/families/families.h"

namespace launch::interchange {
namespace {

void gpt_oss_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::AttentionConfig& attention = shape.model.attending;
  decoder_keys(keys, shape,
               {.kv_heads = 8,
                .epsilon = 1e-5,
                .rope_theta = 150000,
                .max_positions = 131072,
                .rope = {{"rope_type", "yarn"},
                         {"rope_theta", 150000.0},
                         {"factor", 32.0},
                         {"beta_fast", 32.0},
                         {"beta_slow", 1.0},
                         {"truncate", false},
                         {"original_max_position_embeddings", 4096}}});
  head_width_key(keys, shape, 64);
  bool bias = attention.bias == moetrain::ProjectionBias::kAll;
  keys.key("attention_bias", bias, true);
  keys.key("sliding_window", attention.window, int64_t{128});
  std::vector<bool> even;
  for (int64_t block = 0; block < shape.model.layers; ++block) even.push_back(block % 2 == 0);
  layer_types_key(keys, shape, even);
  attention.sinks = true;
  keys.key("intermediate_size", shape.moe.hidden);
  keys.key("num_local_experts", shape.moe.experts);
  keys.key("num_experts_per_tok", shape.moe.top_k);
  keys.inert({"swiglu_limit", "experts_per_token", "initial_context_length"});
  shape.moe.layers = "all";
  shape.moe.gate = moetrain::Gate::kSum1;
  shape.moe.router_bias = true;
  shape.moe.expert = "clamped_swiglu";
  if (keys.reads()) attention.bias = bias ? moetrain::ProjectionBias::kAll : moetrain::ProjectionBias::kNone;
}

/// gate and up stand in one tensor, number beside number: [E, in, 2 F], or [E, 2 F].
void interleaved(TensorRules& rules, const std::string& to, const std::string& from, std::vector<int64_t> shape,
                 int64_t odd) {
  std::vector<int64_t> strides(shape.size(), 2), target = shape;
  target.back() *= 2;
  for (size_t dim = shape.size() - 1; dim-- > 0;) strides[dim] = strides[dim + 1] * shape[dim + 1];
  rules.add({.target = to,
             .target_shape = target,
             .source = from,
             .source_shape = shape,
             .size = shape,
             .target_offset = odd,
             .target_strides = strides});
}

void gpt_oss_experts(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to) {
  const int64_t experts = shape.moe.experts, width = shape.model.width, hidden = shape.moe.hidden;
  rules.copy(to + "router.weight", from + "router.weight", {experts, width});
  rules.copy(to + "router.bias", from + "router.bias", {experts});
  interleaved(rules, to + "experts.gate_up_proj", from + "experts.gate", {experts, width, hidden}, 0);
  interleaved(rules, to + "experts.gate_up_proj", from + "experts.up", {experts, width, hidden}, 1);
  interleaved(rules, to + "experts.gate_up_proj_bias", from + "experts.gate_bias", {experts, hidden}, 0);
  interleaved(rules, to + "experts.gate_up_proj_bias", from + "experts.up_bias", {experts, hidden}, 1);
  rules.copy(to + "experts.down_proj", from + "experts.down", {experts, hidden, width});
  rules.copy(to + "experts.down_proj_bias", from + "experts.down_bias", {experts, width});
}

void gpt_oss_tensors(TensorRules& rules, const ModelShape& shape) {
  decoder_tensors(rules, shape, {.experts = gpt_oss_experts});
}

}  // namespace

Family gpt_oss() {
  return {
      .model_type = "gpt_oss", .architecture = "GptOssForCausalLM", .config = gpt_oss_keys, .tensors = gpt_oss_tensors};
}

}  // namespace launch::interchange
