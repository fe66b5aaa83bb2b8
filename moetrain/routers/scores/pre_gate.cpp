#include "moetrain/routers/scores/pre_gate.h"

#include <ATen/ATen.h>

#include <cmath>

#include "moetrain/attention/attention_heads.h"
#include "moetrain/config/expert_kinds.h"
#include "moetrain/layers/no_tokens.h"
#include "moetrain/routers/composed_router.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace moetrain {
namespace {

// G tokens of a tensor group, W width, S sequences, H heads of L places

constexpr double kPreGateEpsilon = 1e-5;

at::Tensor normed(const at::Tensor& x_GW, const at::Tensor& weight_W) {
  return at::rms_norm(x_GW, weight_W.sizes(), weight_W.to(x_GW.scalar_type()), kPreGateEpsilon);
}

at::Tensor times(const at::Tensor& x_GW, const at::Tensor& weight_NW) {
  return at::linear(x_GW, weight_NW.to(x_GW.scalar_type()));
}

at::ScalarType wide_type(const at::TensorOptions& options) {
  return c10::typeMetaToScalarType(options.dtype()) == at::kDouble ? at::kDouble : at::kFloat;
}

AttentionShape attention_of(const PreGateConfig& config) {
  return {.width = config.width, .heads = config.heads, .kv_heads = config.heads};
}

class PreGatedScores : public Scores {
 public:
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext& context) const override {
    const at::Tensor& logits_TE = context.scope.pre_gate_TE;
    parallel::check_internal(logits_TE.defined() && logits_TE.size(0) == tokens_TD.size(0),
                             "the router pre_gated has no logits of the model's");
    return {.logits_TE = logits_TE.to(tokens_TD.scalar_type()), .clean_logits_TE = {}, .noise_scale_TE = {}};
  }
};

std::shared_ptr<Router> make_pre_gated(const ParameterSource& source, const MoeConfig& config,
                                       const RouterShape& shape) {
  return compose_router({std::make_unique<PreGatedScores>(), softmax_squash, select_largest}, {source, config, shape});
}

void check_pre_gated(const MoeConfig& config) {
  const auto refuse = [&](const std::string& key, const char* legal) {
    parallel::user_error("moe.", key,
                         " with moe.router = \"pre_gated\", whose one decision at the model's entrance is ",
                         "that of every layer; nearest legal: ", legal);
  };
  if (config.jitter > 0) refuse(parallel::concat("jitter (", config.jitter, ")"), "jitter = 0");
  if (config.gating_residual) refuse("gating_residual", "gating_residual = false");
  if (config.task_bias) refuse("task_bias", "task_bias = false");
  const auto& own = config.own<PreGateConfig>();
  if (own.width % own.heads == 0 && own.width / own.heads % 2 == 0) return;
  parallel::user_error(
      "moe.pre_gated.heads (", own.heads, ") must divide moe.pre_gated.width (", own.width,
      ") into even parts; nearest legal: width = ", parallel::nearest_multiples(own.width, 2 * own.heads));
}

}  // namespace

class PreGate::Block : public torch::nn::Module {
 public:
  Block(const ParameterSource& source, const PreGateConfig& config, double std)
      : heads_(config.heads), side_(attention_of(config), source.options().dtype(wide_type(source.options()))) {
    const int64_t W = config.width, F = config.hidden;
    const double output_std = std / std::sqrt(2.0 * static_cast<double>(config.layers));
    const auto matrix = [&](const char* name, int64_t out, int64_t in, double of) {
      return register_parameter(name, source.normal(name, {out, in}, of));
    };
    const auto norm = [&](const char* name) { return register_parameter(name, source.constant(name, {W}, 1.0)); };
    attention_norm_ = norm("attention_norm");
    query_ = matrix("query", W, W, std);
    key_ = matrix("key", W, W, std);
    value_ = matrix("value", W, W, std);
    output_ = matrix("output", W, W, output_std);
    ffn_norm_ = norm("ffn_norm");
    gate_ = matrix("gate", F, W, std);
    up_ = matrix("up", F, W, std);
    down_ = matrix("down", W, F, output_std);
  }

  at::Tensor forward(at::Tensor x_GW, const Sequences& sequences, KeyValueCache* cache) const {
    const at::Tensor seen_GW = normed(x_GW, attention_norm_);
    const auto heads = [&](const at::Tensor& weight) {
      return split_heads(times(seen_GW, weight), sequences, seen_GW.size(1) / heads_);
    };
    const at::Tensor mixed_SHLd =
        side_.mix({heads(query_), heads(key_), heads(value_)}, AttentionProduct{.scale = 1}, sequences, cache, {});
    x_GW = x_GW + times(merge_heads(mixed_SHLd, sequences), output_);
    const at::Tensor fed_GW = normed(x_GW, ffn_norm_);
    return x_GW + times(at::silu(times(fed_GW, gate_)) * times(fed_GW, up_), down_);
  }

 private:
  int64_t heads_;
  OwnSide side_;
  at::Tensor attention_norm_, query_, key_, value_, output_, ffn_norm_, gate_, up_, down_;
};

PreGate::PreGate(const ParameterSource& source, const PreGateConfig& config, const Shape& shape) {
  embedding_VW_ =
      register_parameter("embedding", source.normal("embedding", {shape.vocabulary, config.width}, shape.std));
  source.call_vectors("embedding");
  auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string name = std::to_string(i);
    blocks_.push_back(
        blocks->register_module(name, std::make_shared<Block>(source.at("blocks." + name), config, shape.std)));
  }
  norm_W_ = register_parameter("norm", source.constant("norm", {config.width}, 1.0));
  weight_EW_ = register_parameter("weight", source.normal("weight", {shape.experts, config.width}, shape.std));
  if (config.units == 0) return;
  const at::TensorOptions wide = source.options().dtype(wide_type(source.options()));
  const at::Tensor owner_1F = at::arange(config.units, wide).remainder(shape.experts).unsqueeze(0);
  const at::Tensor own_EF = at::arange(shape.experts, wide).unsqueeze(1).eq(owner_1F).to(wide);
  private_LEF_ = register_buffer("private", own_EF.repeat({shape.layers, 1, 1}));
}

at::Tensor PreGate::forward(const at::Tensor& ids_G, const Sequences& sequences,
                            const std::vector<KeyValueCache*>& caches) const {
  const at::ScalarType wide = wide_type(embedding_VW_.options());
  if (sequences.tokens() == 0) {
    return zeros_of(*this, at::zeros({0, weight_EW_.size(0)}, embedding_VW_.options().dtype(wide)));
  }
  at::Tensor x_GW = at::embedding(embedding_VW_, ids_G).to(wide);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    x_GW = blocks_[i]->forward(x_GW, sequences, caches.empty() ? nullptr : caches[i]);
  }
  return times(normed(x_GW, norm_W_), weight_EW_);
}

std::vector<MoeConfig> pre_gated_layers(const std::vector<MoeConfig>& layers) {
  std::vector<MoeConfig> shared;
  for (const MoeConfig& layer : layers) {
    if (layer.router != "pre_gated") continue;
    shared.push_back(layer);
    const MoeConfig& first = shared.front();
    const auto refuse = [&](const std::string& what, const auto& one, const auto& other) {
      parallel::user_error(what, " is ", one, " in ", section_of(first), " and ", other, " in ", section_of(layer),
                           "; layers of router = \"pre_gated\" share one decision; legal: the same in all of them");
    };
    const int64_t one = expert_kinds(first).total(), other = expert_kinds(layer).total();
    if (one != other) refuse("the number of experts of all kinds", one, other);
    const auto &own = first.own<PreGateConfig>(), &its = layer.own<PreGateConfig>();
    if (own.layers != its.layers) refuse("pre_gated.layers", own.layers, its.layers);
    if (own.width != its.width) refuse("pre_gated.width", own.width, its.width);
    if (own.heads != its.heads) refuse("pre_gated.heads", own.heads, its.heads);
    if (own.hidden != its.hidden) refuse("pre_gated.hidden", own.hidden, its.hidden);
    if (own.units != its.units) refuse("pre_gated.units", own.units, its.units);
  }
  return shared;
}

RouterPreset pre_gated_router() {
  return {
      .make = make_pre_gated,
      .demands = {.gates = {Gate::kRaw, Gate::kStraightThrough, Gate::kHard}, .sequences = false, .pre_gated = true},
      .keys = parallel::own_keys_of<PreGateConfig>,
      .check = check_pre_gated};
}

}  // namespace moetrain
