#include "moetrain/models/transformer_block.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "moetrain/layers/dropout.h"
#include "moetrain/moe/layer_observer.h"
#include "parallel/base/fault.h"

namespace moetrain {

TransformerBlock::TransformerBlock(const ParameterSource& source, const ModelConfig& config, const MoeConfig& moe,
                                   const BlockShape& shape, const MoeTables& tables)
    : dropout_(config.dropout), shape_(shape) {
  // The residual stream collects 2 outputs a block; scaling them keeps its variance at depth (GPT-2).
  const double output_std = config.init_std / std::sqrt(2.0 * static_cast<double>(config.layers));
  const auto norm = [&](const std::string& name) {
    return register_module(name,
                           std::make_shared<Norm>(source.at(name), config.norm, config.width, config.norm_epsilon));
  };
  const AttentionShape attention{.width = config.width,
                                 .heads = config.heads,
                                 .kv_heads = config.kv_heads,
                                 .rope_theta = config.rope_theta,
                                 .causal = shape.causal,
                                 .rotary = !shape.modulated && config.attending.positions == Positions::kRotary,
                                 .options = config.attending,
                                 .window = shape.windowed ? config.attending.window : 0,
                                 .norm_epsilon = config.norm_epsilon};
  if (shape.attention) {
    attention_norm_ = norm("attention_norm");
    attention_ = register_module("attention",
                                 make_self_attention(source.at("attention"), attention, config.init_std, output_std));
  }
  if (shape.cross) {
    cross_norm_ = norm("cross_norm");
    cross_ = register_module(
        "cross", std::make_shared<CrossAttention>(source.at("cross"), attention, config.init_std, output_std));
  }
  const auto modulation = [&](const std::string& name) {
    return shape.modulated ? register_module(name, std::make_shared<Modulation>(source.at(name), config.width))
                           : nullptr;
  };
  if (shape.attention) attention_modulation_ = modulation("attention_modulation");
  ffn_modulation_ = modulation("ffn_modulation");
  ffn_norm_ = norm("ffn_norm");
  if (shape.moe) {
    const MoeLayer::Shape layer{.width = config.width,
                                .activation = config.activation,
                                .std = config.init_std,
                                .output_std = output_std,
                                .layer = shape.layer,
                                .previous_experts = shape.previous_experts,
                                .causal = shape.causal,
                                .bias = config.ffn_bias};
    moe_ = register_module("moe", std::make_shared<MoeLayer>(source.at("moe"), moe, layer, tables));
  } else {
    const FeedForward::Shape dense{.width = config.width,
                                   .hidden = config.ffn_hidden,
                                   .activation = config.activation,
                                   .bias = config.ffn_bias,
                                   .spread = true};
    feed_forward_ = register_module(
        "feed_forward", std::make_shared<FeedForward>(source.at("feed_forward"), dense, config.init_std, output_std));
  }
}

at::Tensor TransformerBlock::dropped(const at::Tensor& addend_TD, const char* place, const BatchScope& scope) const {
  if (!scope.training || dropout_ == 0) return addend_TD;
  return dropout(addend_TD, dropout_, scope.draws.stream(place, shape_.layer), scope.first_token);
}

at::Tensor TransformerBlock::attend_memory(const at::Tensor& normed_TD, const Context& context) const {
  parallel::check_internal(context.memory != nullptr, "a block of a decoder needs the encoder's output");
  if (context.cache == nullptr)
    return cross_->forward(normed_TD, *context.scope.sequences, cross_->keys(*context.memory), context.scope.parts);
  MemoryKeys& kept = context.cache->memory;
  if (!kept.key_SGLd.defined()) kept = cross_->keys(*context.memory);
  return cross_->forward(normed_TD, *context.scope.sequences, kept, context.scope.parts);
}

at::Tensor TransformerBlock::attend(at::Tensor x_TD, const Context& context) const {
  const BatchScope& scope = context.scope;
  KeyValueCache* own = context.cache != nullptr ? &context.cache->own : nullptr;
  if (attention_) {
    at::Tensor normed_TD = attention_norm_->forward(x_TD);
    std::optional<Modulated> modulated;
    if (attention_modulation_) modulated = attention_modulation_->forward(context.condition_SD, scope);
    if (modulated) normed_TD = modulated->of(normed_TD);
    at::Tensor attended_TD = attention_->forward(normed_TD, *scope.sequences, own, scope.parts,
                                                 AdapterDraws::of_group(scope), context.position_bias_1HLK);
    if (modulated) attended_TD = modulated->gate_TD * attended_TD;
    x_TD = x_TD + dropped(attended_TD, "dropout, attention", scope);
  }
  if (cross_) x_TD = x_TD + dropped(attend_memory(cross_norm_->forward(x_TD), context), "dropout, cross", scope);
  return x_TD;
}

MixedTokens TransformerBlock::feed(const at::Tensor& x_TD, const Context& context,
                                   const RoutingChoices* injected) const {
  const BatchScope& scope = context.scope;
  at::Tensor normed_TD = ffn_norm_->forward(x_TD);
  std::optional<Modulated> modulated;
  if (ffn_modulation_) modulated = ffn_modulation_->forward(context.condition_SD, scope);
  if (modulated) normed_TD = modulated->of(normed_TD);
  MixedTokens mixed;
  if (feed_forward_) {
    mixed.out_TD = feed_forward_->forward(normed_TD, scope.parts, AdapterDraws::of_group(scope));
    if (scope.observer != nullptr) {
      parallel::check_internal(feed_forward_->whole(), "an observer of a feed-forward whose units are spread");
      scope.observer->see(ObservedFeedForward{
          .layer = shape_.layer, .input_TD = normed_TD, .hidden_TF = feed_forward_->hidden(normed_TD)});
    }
  } else {
    mixed = moe_->mix(normed_TD, scope, context.previous_logits_TE, injected);
  }
  at::Tensor addend_TD = std::exchange(mixed.out_TD, at::Tensor());
  if (modulated) addend_TD = modulated->gate_TD * addend_TD;
  mixed.out_TD = x_TD + dropped(addend_TD, "dropout, ffn", scope);
  return mixed;
}

// What is kept for backward owns this block and copies of whatever the context refers to.

MixedTokens TransformerBlock::feed_recomputed(const at::Tensor& x_TD, const Context& context) {
  const auto self = std::static_pointer_cast<TransformerBlock>(shared_from_this());
  std::vector<at::Tensor> parameters = ffn_norm_->parameters();
  for (at::Tensor& parameter : moe_->parameters()) parameters.push_back(std::move(parameter));
  if (ffn_modulation_) {
    for (at::Tensor& parameter : ffn_modulation_->parameters()) parameters.push_back(std::move(parameter));
  }
  return recomputed(
      [self, scope = context.scope](const std::vector<at::Tensor>& inputs, const RoutingChoices* injected) {
        return self->feed(inputs[0], {.scope = scope, .condition_SD = inputs[2], .previous_logits_TE = inputs[1]},
                          injected);
      },
      {x_TD, context.previous_logits_TE, context.condition_SD}, parameters);
}

MixedTokens TransformerBlock::all_recomputed(const at::Tensor& x_TD, const Context& context) {
  const auto self = std::static_pointer_cast<TransformerBlock>(shared_from_this());
  const Memory* memory = context.memory;
  const std::optional<Sequences> source = memory != nullptr ? std::optional(memory->sequences) : std::nullopt;
  return recomputed(
      [self, source, scope = context.scope](const std::vector<at::Tensor>& inputs, const RoutingChoices* injected) {
        const std::optional<Memory> read = source ? std::optional(Memory{inputs[2], *source}) : std::nullopt;
        const Context again{.scope = scope,
                            .memory = read ? &*read : nullptr,
                            .condition_SD = inputs[3],
                            .position_bias_1HLK = inputs[4],
                            .previous_logits_TE = inputs[1]};
        return self->feed(self->attend(inputs[0], again), again, injected);
      },
      {x_TD, context.previous_logits_TE, memory != nullptr ? memory->hidden_TD : at::Tensor(), context.condition_SD,
       context.position_bias_1HLK},
      parameters());
}

TransformerBlock::Output TransformerBlock::forward(const at::Tensor& x_TD, const Context& context) {
  parallel::check_internal(context.cache == nullptr || context.recompute == Recompute::kNone,
                           "a block with a cache is not recomputed");
  MixedTokens mixed;
  if (context.recompute == Recompute::kBlock) {
    mixed = all_recomputed(x_TD, context);
  } else {
    const at::Tensor attended_TD = attend(x_TD, context);
    mixed = context.recompute == Recompute::kMoe && moe_ ? feed_recomputed(attended_TD, context)
                                                         : feed(attended_TD, context, /*injected=*/nullptr);
  }
  if (!moe_) return {mixed.out_TD, std::nullopt};
  LossTerms losses = moe_->losses(*mixed.decision, context.scope);
  return {mixed.out_TD, MoeOutput{.decision = *std::move(mixed.decision), .losses = std::move(losses)}};
}

}  // namespace moetrain
