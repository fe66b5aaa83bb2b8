#include <algorithm>
#include <charconv>

#include "launch/interchange/families/decoder.h"
#include "launch/interchange/families/families.h"
#include "moetrain/moe/expert_blocks.h"
#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

/// Widths of multi-head latent attention.
void latent_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::AttentionConfig& attention = shape.model.attending;
  auto& latent = attention.own<moetrain::LatentConfig>();
  attention.kind = moetrain::AttentionKind::kLatent;
  if (keys.reads()) {
    keys.key("q_lora_rank", latent.query_rank, int64_t{0});  // null: queries come straight from the token
  } else {
    keys.write("q_lora_rank", latent.query_rank > 0 ? Json(latent.query_rank) : Json());
  }
  keys.key("kv_lora_rank", latent.kv_rank);
  keys.key("qk_nope_head_dim", latent.plain_width);
  keys.key("qk_rope_head_dim", latent.turned_width);
  keys.key("v_head_dim", latent.value_width);
  keys.at_most("head_dim", latent.turned_width);
  keys.inert({"qk_head_dim"});
  if (latent.turned_width < 2 || latent.turned_width % 2 != 0) keys.refuse("qk_rope_head_dim", "is not even");
  if (shape.model.kv_heads != shape.model.heads) {
    keys.refuse("num_key_value_heads", "is not num_attention_heads, of which each has keys of its own");
  }
  attention_bias_key(keys, shape);
}

/// What transformers takes for keys that are absent.
struct MixtureDefaults {
  int64_t shared = 2, dense = 0, groups = 1, top_groups = 1;
  double scale = 1.0;
};
constexpr MixtureDefaults kOfV3{.shared = 1, .dense = 3, .groups = 8, .top_groups = 4, .scale = 2.5};

/// Experts behind the first dense blocks.
void mixture_keys_of_deepseek(ConfigKeys& keys, ModelShape& shape, const MixtureDefaults& defaults) {
  moetrain::MoeConfig& moe = shape.moe;
  keys.key("intermediate_size", shape.model.ffn_hidden);
  keys.key("moe_intermediate_size", moe.hidden);
  keys.key("n_routed_experts", moe.experts);
  keys.key("num_experts_per_tok", moe.top_k);
  keys.key("routed_scaling_factor", moe.route_scale, defaults.scale);
  int64_t shared = moe.shared_hidden / std::max<int64_t>(1, moe.hidden);
  keys.key("n_shared_experts", shared, keys.names("n_shared_experts") ? 0 : defaults.shared);
  const std::vector<bool> sparse = moetrain::expert_blocks(moe, moetrain::total_blocks(shape.model));
  int64_t dense = std::ranges::find(sparse, true) - sparse.begin();
  keys.key("first_k_dense_replace", dense, defaults.dense);
  keys.at_most("moe_layer_freq", 1);
  keys.inert({"ep_size", "aux_loss_alpha", "seq_aux", "scoring_func"});
  if (!keys.reads()) return;
  if (dense > shape.model.layers) keys.refuse("first_k_dense_replace", "is more than num_hidden_layers");
  moe.shared_hidden = shared * moe.hidden;
  moe.shared_gate = shared == 0;
  moe.layers = dense == 0                    ? "all"
               : dense == shape.model.layers ? "none"
                                             : parallel::concat(dense, "-", shape.model.layers - 1);
}

/// n_group and topk_group, where groups are in use.
template <class Config>
void group_keys(ConfigKeys& keys, Config& groups, const MixtureDefaults& defaults) {
  keys.key("n_group", groups.groups, defaults.groups);
  keys.key("topk_group", groups.top_groups, defaults.top_groups);
}

void deepseek_v2_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {});
  latent_keys(keys, shape);
  shape.model.attending.own<moetrain::LatentConfig>().pairs = moetrain::RopePairs::kAdjacent;
  keys.key("mlp_bias", shape.model.ffn_bias, false);
  mixture_keys_of_deepseek(keys, shape, {});
  keys.at_most("norm_topk_prob", false);
  shape.moe.router = "grouped_top_k";
  shape.moe.gate = moetrain::Gate::kRaw;
  auto& groups = shape.moe.own<moetrain::GroupedTopKConfig>();
  if (!keys.reads()) {
    keys.write("topk_method", groups.groups > 1 ? "group_limited_greedy" : "greedy");
    return group_keys(keys, groups, {});
  }
  const Json* method = keys.given("topk_method");
  if (method == nullptr || *method == "greedy") return keys.inert({"n_group", "topk_group"});
  if (*method != "group_limited_greedy") keys.refuse("topk_method", "is neither greedy nor group_limited_greedy");
  group_keys(keys, groups, {});
}

void deepseek_v3_keys(ConfigKeys& keys, ModelShape& shape) {
  decoder_keys(keys, shape, {});
  latent_keys(keys, shape);
  auto& latent = shape.model.attending.own<moetrain::LatentConfig>();
  bool interleaved = latent.pairs == moetrain::RopePairs::kAdjacent;
  keys.key("rope_interleave", interleaved, true);
  latent.pairs = interleaved ? moetrain::RopePairs::kAdjacent : moetrain::RopePairs::kHalf;
  mixture_keys_of_deepseek(keys, shape, kOfV3);
  keys.key("num_nextn_predict_layers", shape.next_token_blocks, int64_t{1});
  keys.inert({"topk_method"});
  shape.moe.router = "sigmoid_bias";
  auto& groups = shape.moe.own<moetrain::SigmoidBiasConfig>();
  group_keys(keys, groups, kOfV3);
  bool normed = shape.moe.gate == moetrain::Gate::kSum1;
  keys.key("norm_topk_prob", normed, true);
  if (keys.reads()) shape.moe.gate = normed ? moetrain::Gate::kSum1 : moetrain::Gate::kRaw;
}

void shared_experts_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from,
                            const std::string& to) {
  if (shape.moe.router == "sigmoid_bias") {
    rules.copy(to + "gate.e_score_correction_bias", from + "router.bias", {shape.moe.experts});
    rules.call_buffer();
  }
  if (shape.moe.shared_hidden == 0) return;
  feed_forward_tensors(rules, shape, from + "shared.", to + "shared_experts.", shape.moe.shared_hidden);
  if (!shape.model.ffn_bias) return;
  feed_forward_biases(rules, shape, from + "shared.", to + "shared_experts.", shape.moe.shared_hidden);
}

void deepseek_tensors(TensorRules& rules, const ModelShape& shape) {
  decoder_tensors(rules, shape, {}, shared_experts_tensors);
}

/// Blocks that predict tokens further ahead, which stand behind the model's own.
bool is_next_token_block(const std::string& tensor, const ModelShape& shape) {
  const std::string beginning = "model.layers.";
  if (!tensor.starts_with(beginning)) return false;
  int64_t block = -1;
  const char* const end = tensor.data() + tensor.size();
  const auto [rest, fault] = std::from_chars(tensor.data() + beginning.size(), end, block);
  if (fault != std::errc() || rest == end || *rest != '.') return false;
  return block >= shape.model.layers && block < shape.model.layers + shape.next_token_blocks;
}

}  // namespace

Family deepseek_v2() {
  return {.model_type = "deepseek_v2",
          .architecture = "DeepseekV2ForCausalLM",
          .config = deepseek_v2_keys,
          .tensors = deepseek_tensors};
}

Family deepseek_v3() {
  return {.model_type = "deepseek_v3",
          .architecture = "DeepseekV3ForCausalLM",
          .config = deepseek_v3_keys,
          .tensors = deepseek_tensors,
          .ignores = is_next_token_block};
}

}  // namespace launch::interchange
