#include <algorithm>
#include <cmath>

#include "launch/interchange/families/families.h"
#include "moetrain/models/model_config.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

/// How config.json calls what a stack has.
struct StackKeys {
  const char *layers, *sparse_layers, *sparse_step;
};
constexpr StackKeys kEncoderKeys{"num_layers", "num_sparse_encoder_layers", "encoder_sparse_step"};
constexpr StackKeys kDecoderKeys{"num_decoder_layers", "num_sparse_decoder_layers", "decoder_sparse_step"};

/// Which blocks of a stack have experts: with a step of 1 all, else those that leave 1 divided by it; with 0 none.
std::vector<bool> sparse_by_step(int64_t step, int64_t layers) {
  std::vector<bool> sparse;
  for (int64_t i = 0; i < layers; ++i) sparse.push_back(step == 1 || (step > 0 && i % step == 1));
  return sparse;
}

void read_layers(ConfigKeys& keys, const StackKeys& names, int64_t& layers, int64_t otherwise) {
  keys.key(names.layers, layers, otherwise);
  constexpr int64_t kMost = 1000;  // model.layers; before lists of that length are made
  if (layers < 1 || layers > kMost) keys.refuse(names.layers, "is out of range; legal: 1 to 1000");
}

std::vector<bool> read_sparse(ConfigKeys& keys, const StackKeys& names, int64_t layers) {
  int64_t sparse_layers = 0, step = 0;
  keys.key(names.sparse_layers, sparse_layers, int64_t{3});
  // As transformers has it: of no sparse layers the second is one.
  keys.key(names.sparse_step, step, sparse_layers > 0 ? layers / sparse_layers : layers);
  return sparse_by_step(step, layers);
}

void write_stack(ConfigKeys& keys, const StackKeys& names, const std::vector<bool>& sparse) {
  const auto layers = static_cast<int64_t>(sparse.size());
  int64_t step = 0;  // what no step says is refused when this is read again
  for (int64_t each = layers; each > 0; --each) {
    if (sparse_by_step(each, layers) == sparse) step = each;
  }
  keys.write(names.layers, layers);
  keys.write(names.sparse_layers, std::ranges::count(sparse, true));
  keys.write(names.sparse_step, step);
}

void switch_stack_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::ModelConfig& model = shape.model;
  if (!keys.reads()) {
    const std::vector<bool> sparse = moetrain::expert_blocks(shape.moe, moetrain::total_blocks(model));
    write_stack(keys, kEncoderKeys, {sparse.begin(), sparse.begin() + model.encoder_layers});
    return write_stack(keys, kDecoderKeys, {sparse.begin() + model.encoder_layers, sparse.end()});
  }
  model.kind = "encoder_decoder";
  read_layers(keys, kEncoderKeys, model.encoder_layers, 12);
  // Absent it is the class's default, null as many as the encoder's.
  read_layers(keys, kDecoderKeys, model.layers, keys.names("num_decoder_layers") ? model.encoder_layers : 12);
  std::vector<bool> sparse = read_sparse(keys, kEncoderKeys, model.encoder_layers);
  const std::vector<bool> decoder = read_sparse(keys, kDecoderKeys, model.layers);
  sparse.insert(sparse.end(), decoder.begin(), decoder.end());
  shape.moe.layers = spelt_out(sparse);
}

void switch_attention_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::ModelConfig& model = shape.model;
  moetrain::AttentionConfig& attention = model.attending;
  keys.key("num_heads", model.heads, int64_t{12});
  if (model.heads < 1) keys.refuse("num_heads", "is not at least 1");
  int64_t width = model.head_width();
  keys.key("d_kv", width, int64_t{64});
  if (width < 1) keys.refuse("d_kv", "is not at least 1");
  attention.positions = moetrain::Positions::kRelative;
  auto& relative = attention.own<moetrain::RelativeConfig>();
  keys.key("relative_attention_num_buckets", relative.buckets, int64_t{32});
  keys.key("relative_attention_max_distance", relative.longest, int64_t{128});
  if (!keys.reads()) return;
  if (relative.buckets < 4 || relative.buckets % 2 != 0) {
    keys.refuse("relative_attention_num_buckets", "is no even number of at least 4");
  }
  if (relative.longest <= relative.buckets / 2) {
    keys.refuse("relative_attention_max_distance", "is not above half of relative_attention_num_buckets");
  }
  attention.scaled = false;
  attention.head_width = width * model.heads == model.width ? 0 : width;
  model.kv_heads = model.heads;
}

/// Dense feed-forwards and experts are alike.
void switch_feed_forward_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::ModelConfig& model = shape.model;
  const bool experts_alone = shape.moe.layers == "all";
  int64_t& hidden = !keys.reads() && experts_alone ? shape.moe.hidden : model.ffn_hidden;
  keys.key("d_ff", hidden, int64_t{2048});
  if (!keys.reads()) {
    const std::string name = model.activation.name();
    return keys.write("dense_act_fn", name);
  }
  shape.moe.hidden = model.ffn_hidden;
  const Json* act = keys.given("dense_act_fn");
  if (act != nullptr && *act != "relu" && *act != "gelu") {
    keys.refuse("dense_act_fn", "cannot be imported; legal: \"relu\", \"gelu\"");
  }
  const bool gelu = act != nullptr && *act == "gelu";
  model.activation = gelu ? moetrain::Activation::kGelu : moetrain::Activation::kRelu;
}

void loss_key(ConfigKeys& keys, ModelShape& shape, const char* name, const char* loss) {
  parallel::Weight& weight = shape.moe.losses[loss];
  keys.key(name, weight.value, 0.001);
  if (!std::isfinite(weight.value) || weight.value < 0) keys.refuse(name, "is not at least 0");
}

void switch_router_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::MoeConfig& moe = shape.moe;
  keys.key("num_experts", moe.experts, int64_t{8});
  keys.key("router_bias", moe.router_bias, false);
  keys.key("router_jitter_noise", moe.jitter, 0.01);
  keys.fixed("router_dtype", "float32");
  loss_key(keys, shape, "router_aux_loss_coef", "load_balance");
  loss_key(keys, shape, "router_z_loss_coef", "router_z");
  // transformers 5 counts over an axis of one token, and so drops none, unless nothing may pass.
  int64_t capacity = 64;
  keys.key("expert_capacity", capacity, int64_t{64});
  if (capacity < 1) keys.refuse("expert_capacity", "lets no token through; legal: at least 1, which changes nothing");
  keys.at_most("num_selected_experts", 1);
  keys.inert({"router_type", "router_ignore_padding_tokens", "batch_prioritized_routing", "add_router_probs",
              "capacity_factor"});
  moe.router = "switch";
  moe.top_k = 1;
  moe.gate = moetrain::Gate::kRaw;
}

void switch_keys(ConfigKeys& keys, ModelShape& shape) {
  moetrain::ModelConfig& model = shape.model;
  keys.key("vocab_size", shape.vocabulary_size, int64_t{32128});
  if (shape.vocabulary_size < 1 || shape.vocabulary_size > 1 << 30) {
    keys.refuse("vocab_size", "is out of range; legal: 1 to 2^30");
  }
  keys.key("d_model", model.width, int64_t{768});
  switch_stack_keys(keys, shape);
  switch_attention_keys(keys, shape);
  switch_feed_forward_keys(keys, shape);
  switch_router_keys(keys, shape);
  keys.key("layer_norm_epsilon", model.norm_epsilon, 1e-6);
  keys.key("tie_word_embeddings", model.tie_embeddings, true);
  if (!keys.reads()) return keys.write("is_encoder_decoder", true);
  model.scaled_head = model.tie_embeddings;
  if (const Json* start = keys.given("decoder_start_token_id"); start != nullptr && start->is_number_integer()) {
    model.start_token = start->get<int64_t>();
  } else {
    model.start_token = 0;  // the fill token, as in all that are published
  }
  if (model.start_token < 0 || model.start_token >= shape.vocabulary_size) {
    keys.refuse("decoder_start_token_id", "is no token");
  }
  keys.at_most("is_decoder", false);
  keys.at_most("add_cross_attention", false);
  // Positions are distances, feed-forwards have no gate whatever these say.
  keys.inert({"n_positions", "feed_forward_proj", "is_gated_act", "tie_encoder_decoder", "output_past",
              "task_specific_params"});
}

void switch_attention_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from,
                              const std::string& to) {
  const int64_t width = shape.model.width, heads = shape.model.heads * shape.model.head_width();
  rules.copy(to + "q.weight", from + "query.weight", {heads, width});
  rules.copy(to + "k.weight", from + "key.weight", {heads, width});
  rules.copy(to + "v.weight", from + "value.weight", {heads, width});
  rules.copy(to + "o.weight", from + "output.weight", {width, heads});
}

void switch_expert_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from,
                           const std::string& to) {
  const int64_t experts = shape.moe.experts, width = shape.model.width, hidden = shape.moe.hidden;
  rules.copy(to + "router.classifier.weight", from + "router.weight", {experts, width});
  if (shape.moe.router_bias) rules.copy(to + "router.classifier.bias", from + "router.bias", {experts});
  for (int64_t expert = 0; expert < experts; ++expert) {
    const std::string there = to + "experts.expert_" + std::to_string(expert) + ".";
    rules.transposed(there + "wi.weight", from + "experts.up", {experts, expert, width, hidden});
    rules.transposed(there + "wo.weight", from + "experts.down", {experts, expert, hidden, width});
  }
}

void switch_block_tensors(TensorRules& rules, const ModelShape& shape, const std::string& from, const std::string& to,
                          bool cross, bool sparse) {
  const int64_t width = shape.model.width;
  rules.copy(to + "layer.0.layer_norm.weight", from + "attention_norm.weight", {width});
  switch_attention_tensors(rules, shape, from + "attention.", to + "layer.0.SelfAttention.");
  if (cross) {
    rules.copy(to + "layer.1.layer_norm.weight", from + "cross_norm.weight", {width});
    switch_attention_tensors(rules, shape, from + "cross.", to + "layer.1.EncDecAttention.");
  }
  const std::string feeding = to + (cross ? "layer.2." : "layer.1.");
  rules.copy(feeding + "layer_norm.weight", from + "ffn_norm.weight", {width});
  if (sparse) return switch_expert_tensors(rules, shape, from + "moe.", feeding + "mlp.");
  rules.copy(feeding + "mlp.wi.weight", from + "feed_forward.up.weight", {shape.model.ffn_hidden, width});
  rules.copy(feeding + "mlp.wo.weight", from + "feed_forward.down.weight", {width, shape.model.ffn_hidden});
}

void switch_stack_tensors(TensorRules& rules, const ModelShape& shape, const std::string& stack,
                          const std::vector<bool>& sparse) {
  const bool decodes = stack == "decoder";
  for (size_t block = 0; block < sparse.size(); ++block) {
    const std::string number = std::to_string(block) + ".";
    switch_block_tensors(rules, shape, stack + "." + number, stack + ".block." + number, decodes, sparse[block]);
  }
  rules.copy(stack + ".block.0.layer.0.SelfAttention.relative_attention_bias.weight", stack + ".position_bias.weight",
             {shape.model.attending.own<moetrain::RelativeConfig>().buckets, shape.model.heads});
  rules.copy(stack + ".final_layer_norm.weight", decodes ? "final_norm.weight" : "encoder_norm.weight",
             {shape.model.width});
}

void switch_tensors(TensorRules& rules, const ModelShape& shape) {
  const moetrain::ModelConfig& model = shape.model;
  const std::vector<int64_t> table = {shape.vocabulary_size, model.width};
  const bool tied = model.tie_embeddings;
  rules.copy("shared.weight", "embedding.weight", table);
  // One table serves all; an untied folder has it three times.
  for (const char* const again : {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}) {
    rules.again(again, "embedding.weight", table, tied ? Again::kAccepted : Again::kWritten);
  }
  const std::vector<bool> sparse = moetrain::expert_blocks(shape.moe, moetrain::total_blocks(model));
  switch_stack_tensors(rules, shape, "encoder", {sparse.begin(), sparse.begin() + model.encoder_layers});
  switch_stack_tensors(rules, shape, "decoder", {sparse.begin() + model.encoder_layers, sparse.end()});
  if (tied) return rules.again("lm_head.weight", "embedding.weight", table, Again::kAccepted);
  rules.copy("lm_head.weight", "head.weight", table);
}

/// One expert by its raw probability is this router, whatever it is called.
ModelShape as_switch(ModelShape shape) {
  if (shape.moe.router == "top_k" && shape.moe.top_k == 1) shape.moe.router = "switch";
  return shape;
}

}  // namespace

Family switch_transformers() {
  return {.model_type = "switch_transformers",
          .architecture = "SwitchTransformersForConditionalGeneration",
          .config = switch_keys,
          .tensors = switch_tensors,
          .held_as = as_switch};
}

}  // namespace launch::interchange
