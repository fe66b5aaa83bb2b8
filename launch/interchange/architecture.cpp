#include "launch/interchange/architecture.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void cannot_represent(const std::string& key, const std::string& value, const std::string& legal) {
  parallel::user_error(key, " = \"", value, "\" cannot be exported: no supported architecture of transformers has it; ",
                       "legal for an export: ", legal);
}

std::vector<int64_t> dense_blocks(const ModelShape& shape) {
  const std::vector<bool> has_experts = moetrain::expert_blocks(shape.moe.layers, shape.model.layers);
  std::vector<int64_t> dense;
  for (size_t block = 0; block < has_experts.size(); ++block) {
    if (!has_experts[block]) dense.push_back(static_cast<int64_t>(block));
  }
  return dense;
}

/// What only moetrain's mixtures have. Legal values are the defaults.
void check_experts(const moetrain::MoeConfig& moe) {
  if (!moe.experts_by_layer.empty()) {
    std::string numbers;
    for (const int64_t experts : moe.experts_by_layer)
      numbers += (numbers.empty() ? "" : ", ") + std::to_string(experts);
    cannot_represent("moe.experts_by_layer", "[" + numbers + "]", "[] (the same number in every block)");
  }
  const moetrain::ExpertKinds kinds = moetrain::expert_kinds(moe);
  for (const moetrain::ExpertKind& kind : moetrain::expert_kind_table()) {
    if (kind.count == &moetrain::ExpertKinds::ffn || kinds.*kind.count == 0) continue;
    cannot_represent(parallel::concat("moe.", kind.name, "_experts"), std::to_string(kinds.*kind.count), "0");
  }
  if (moe.expert != "feed_forward") cannot_represent("moe.expert", moe.expert, "\"feed_forward\"");
  if (moe.latent > 0) cannot_represent("moe.latent", std::to_string(moe.latent), "0");
  if (moe.shared_combine != moetrain::SharedCombine::kAdd)
    cannot_represent("moe.shared_combine", moe.shared_combine.name(), "\"add\"");
}

/// What every one of the architectures has.
Json common_config(const ModelShape& shape, int64_t end_of_text, const std::string& dtype) {
  const moetrain::ModelConfig& model = shape.model;
  Json config;
  config["vocab_size"] = shape.vocabulary_size;
  config["hidden_size"] = model.width;
  config["num_hidden_layers"] = model.layers;
  config["num_attention_heads"] = model.heads;
  config["num_key_value_heads"] = model.kv_heads;
  config["hidden_act"] = "silu";
  config["max_position_embeddings"] = shape.sequence_length;
  config["rms_norm_eps"] = model.norm_epsilon;
  config["rope_theta"] = model.rope_theta;  // read before transformers 5
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", model.rope_theta}};
  config["tie_word_embeddings"] = model.tie_embeddings;
  config["attention_dropout"] = 0.0;
  config["bos_token_id"] = end_of_text;  // what stands before the first document
  config["eos_token_id"] = end_of_text;
  config["dtype"] = dtype;
  return config;
}

void add_llama(Json& config, const ModelShape& shape) {
  config["intermediate_size"] = shape.model.ffn_hidden;
  config["attention_bias"] = false;
  config["mlp_bias"] = false;
}

void add_mixtral(Json& config, const ModelShape& shape) {
  config["intermediate_size"] = shape.moe.hidden;
  config["num_local_experts"] = shape.moe.experts;
  config["num_experts_per_tok"] = shape.moe.top_k;
  config["sliding_window"] = nullptr;
  config["router_jitter_noise"] = 0.0;
}

void add_qwen2_moe(Json& config, const ModelShape& shape) {
  config["intermediate_size"] = shape.model.ffn_hidden;
  config["moe_intermediate_size"] = shape.moe.hidden;
  config["shared_expert_intermediate_size"] = needs_zero_shared_expert(shape) ? 1 : shape.moe.shared_hidden;
  config["num_experts"] = shape.moe.experts;
  config["num_experts_per_tok"] = shape.moe.top_k;
  config["norm_topk_prob"] = shape.moe.gate == moetrain::Gate::kSum1;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = dense_blocks(shape);
  config["qkv_bias"] = false;
  config["use_sliding_window"] = false;
}

}  // namespace

Architecture choose_architecture(const ModelShape& shape) {
  const moetrain::ModelConfig& model = shape.model;
  const moetrain::MoeConfig& moe = shape.moe;
  if (model.kind != "decoder_lm") cannot_represent("model.kind", model.kind, "\"decoder_lm\"");
  if (model.attention != "all") cannot_represent("model.attention", model.attention, "\"all\"");
  if (model.norm != moetrain::NormKind::kRms) cannot_represent("model.norm", model.norm.name(), "\"rms\"");
  if (model.activation != moetrain::Activation::kSwiglu)
    cannot_represent("model.activation", model.activation.name(), "\"swiglu\"");
  const auto dense = static_cast<int64_t>(dense_blocks(shape).size());
  if (dense == model.layers) return Architecture::kLlama;
  if (moe.router != "top_k") cannot_represent("moe.router", moe.router, "\"top_k\"");
  if (moe.gate != moetrain::Gate::kSum1 && moe.gate != moetrain::Gate::kRaw)
    cannot_represent("moe.gate", moe.gate.name(), "\"sum1\", \"raw\"");
  if (moe.route_scale != 1.0) cannot_represent("moe.route_scale", parallel::concat(moe.route_scale), "1");
  if (moe.gating_residual) cannot_represent("moe.gating_residual", "true", "false");
  if (moe.capacity != "dropless") {
    cannot_represent("moe.capacity", moe.capacity, "\"dropless\" (transformers never drops a token)");
  }
  check_experts(moe);
  const bool mixtral = dense == 0 && moe.shared_hidden == 0 && moe.gate == moetrain::Gate::kSum1;
  return mixtral ? Architecture::kMixtral : Architecture::kQwen2Moe;
}

bool needs_zero_shared_expert(const ModelShape& shape) {
  return choose_architecture(shape) == Architecture::kQwen2Moe && shape.moe.shared_hidden == 0;
}

std::string config_json(const ModelShape& shape, int64_t end_of_text, const std::string& dtype) {
  Json config;
  Json specific;
  switch (choose_architecture(shape)) {
    case Architecture::kLlama:
      config = {{"architectures", {"LlamaForCausalLM"}}, {"model_type", "llama"}};
      add_llama(specific, shape);
      break;
    case Architecture::kMixtral:
      config = {{"architectures", {"MixtralForCausalLM"}}, {"model_type", "mixtral"}};
      add_mixtral(specific, shape);
      break;
    case Architecture::kQwen2Moe:
      config = {{"architectures", {"Qwen2MoeForCausalLM"}}, {"model_type", "qwen2_moe"}};
      add_qwen2_moe(specific, shape);
      break;
  }
  config.update(common_config(shape, end_of_text, dtype));
  config.update(specific);
  return config.dump(2) + "\n";
}

std::string generation_config_json(int64_t end_of_text) {
  const Json config = {{"bos_token_id", end_of_text},
                       {"eos_token_id", end_of_text},
                       {"pad_token_id", end_of_text},
                       {"do_sample", false}};
  return config.dump(2) + "\n";
}

}  // namespace launch::interchange
