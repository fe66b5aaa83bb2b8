#include "moetrain/models/transformer_block.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "moetrain/layers/dropout.h"
#include "moetrain/moe/layer_observer.h"
#include "parallel/base/fault.h"
#include "parallel/phases/phase.h"

namespace moetrain {
namespace {

/// The residual stream collects 2 outputs a block; scaling them keeps its variance at depth (GPT-2).
double residual_std(const ModelConfig& config) {
  return config.init_std / std::sqrt(2.0 * static_cast<double>(config.layers));
}

PartOutput part_of(MixedTokens mixed) {
  PartOutput part{.out_TD = std::move(mixed.out_TD), .decisions = {}};
  if (mixed.decision) part.decisions.push_back(*std::move(mixed.decision));
  return part;
}

/// As it was, but for what is an input of a part that is made again.
BatchScope scope_with(BatchScope scope, const at::Tensor& pre_gate_TE) {
  scope.pre_gate_TE = pre_gate_TE;
  return scope;
}

/// `later` with the decisions of `earlier` before its own.
PartOutput behind(PartOutput earlier, PartOutput later) {
  for (RoutingDecision& decision : later.decisions) earlier.decisions.push_back(std::move(decision));
  return {std::move(later.out_TD), std::move(earlier.decisions)};
}

}  // namespace

void BlockCache::keep(const at::Tensor& row_R) {
  own.keep(row_R);
  for (at::Tensor* tensor : {&memory.key_SGLd, &memory.value_SGLd, &memory.there_SL}) {
    if (tensor->defined()) *tensor = tensor->index_select(0, row_R);
  }
}

TransformerBlock::TransformerBlock(const ParameterSource& source, const ModelConfig& config,
                                   const BlockExperts& experts, const BlockShape& shape, const MoeTables& tables)
    : dropout_(config.dropout), shape_(shape) {
  add_attention(source, config, experts.attention, tables);
  add_feed_forward(source, config, experts.feed_forward, tables);
}

void TransformerBlock::add_attention(const ParameterSource& source, const ModelConfig& config,
                                     const std::optional<MoeConfig>& experts, const MoeTables& tables) {
  const AttentionShape attention{.width = config.width,
                                 .heads = config.heads,
                                 .kv_heads = config.kv_heads,
                                 .rope_theta = config.rope_theta,
                                 .causal = shape_.causal,
                                 .rotary = !shape_.modulated && config.attending.positions == Positions::kRotary,
                                 .options = config.attending,
                                 .window = shape_.windowed ? config.attending.window : 0,
                                 .norm_epsilon = config.norm_epsilon};
  const double output_std = residual_std(config);
  if (shape_.attention) {
    attention_norm_ = add_norm(source, config, "attention_norm");
    if (experts) {
      const AttentionModules::Shape modules{.attention = attention,
                                            .site = {shape_.layer, Slot::kAttention, total_blocks(config)},
                                            .std = config.init_std,
                                            .output_std = output_std};
      attention_modules_ = register_module(
          "attention", std::make_shared<AttentionModules>(source.at("attention"), *experts, modules, tables));
    } else {
      attention_ = register_module("attention",
                                   make_self_attention(source.at("attention"), attention, config.init_std, output_std));
    }
  }
  if (!shape_.cross) return;
  cross_norm_ = add_norm(source, config, "cross_norm");
  cross_ = register_module(
      "cross", std::make_shared<CrossAttention>(source.at("cross"), attention, config.init_std, output_std));
}

void TransformerBlock::add_feed_forward(const ParameterSource& source, const ModelConfig& config,
                                        const std::optional<MoeConfig>& experts, const MoeTables& tables) {
  const auto modulation = [&](const std::string& name) {
    return shape_.modulated ? register_module(name, std::make_shared<Modulation>(source.at(name), config.width))
                            : nullptr;
  };
  if (shape_.attention) attention_modulation_ = modulation("attention_modulation");
  ffn_modulation_ = modulation("ffn_modulation");
  ffn_norm_ = add_norm(source, config, "ffn_norm");
  if (experts) {
    const MoeLayer::Shape layer{.width = config.width,
                                .activation = config.activation,
                                .std = config.init_std,
                                .output_std = residual_std(config),
                                .layer = shape_.layer,
                                .previous_experts = shape_.previous_experts,
                                .causal = shape_.causal,
                                .bias = config.ffn_bias};
    moe_ = register_module("moe", std::make_shared<MoeLayer>(source.at("moe"), *experts, layer, tables));
  } else {
    const FeedForward::Shape dense{.width = config.width,
                                   .hidden = config.ffn_hidden,
                                   .activation = config.activation,
                                   .bias = config.ffn_bias,
                                   .spread = true};
    feed_forward_ = register_module(
        "feed_forward",
        std::make_shared<FeedForward>(source.at("feed_forward"), dense, config.init_std, residual_std(config)));
  }
}

std::shared_ptr<Norm> TransformerBlock::add_norm(const ParameterSource& source, const ModelConfig& config,
                                                 const std::string& name) {
  return register_module(name, std::make_shared<Norm>(source.at(name), config.norm, config.width, config.norm_epsilon));
}

std::vector<const RoutedLayer*> TransformerBlock::routed_layers() const {
  std::vector<const RoutedLayer*> layers;
  if (attention_modules_) layers.push_back(attention_modules_.get());
  if (moe_) layers.push_back(moe_.get());
  return layers;
}

at::Tensor TransformerBlock::dropped(const at::Tensor& addend_TD, const char* place, const BatchScope& scope) const {
  if (!scope.training || dropout_ == 0) return addend_TD;
  return dropout(addend_TD, dropout_, scope.draws.stream(place, shape_.layer), scope.first_token);
}

at::Tensor TransformerBlock::attend_memory(const at::Tensor& normed_TD, const Context& context) const {
  const parallel::Phase phase(parallel::PhaseName::kAttention);
  parallel::check_internal(context.memory != nullptr, "a block of a decoder needs the encoder's output");
  if (context.cache == nullptr)
    return cross_->forward(normed_TD, *context.scope.sequences, cross_->keys(*context.memory), context.scope.parts);
  MemoryKeys& kept = context.cache->memory;
  if (!kept.key_SGLd.defined()) kept = cross_->keys(*context.memory);
  return cross_->forward(normed_TD, *context.scope.sequences, kept, context.scope.parts);
}

MixedTokens TransformerBlock::attend_own(const at::Tensor& normed_TD, const Context& context,
                                         const RoutingChoices* injected) const {
  const parallel::Phase phase(parallel::PhaseName::kAttention);
  const BatchScope& scope = context.scope;
  KeyValueCache* own = context.cache != nullptr ? &context.cache->own : nullptr;
  if (attention_modules_) return attention_modules_->mix(normed_TD, scope, own, context.position_bias_1HLK, injected);
  return {attention_->forward(normed_TD, *scope.sequences, own, scope.parts, AdapterDraws::of_group(scope),
                              context.position_bias_1HLK),
          std::nullopt};
}

MixedTokens TransformerBlock::attend(at::Tensor x_TD, const Context& context, const RoutingChoices* injected) const {
  const BatchScope& scope = context.scope;
  std::optional<RoutingDecision> decision;
  if (shape_.attention) {
    at::Tensor normed_TD = attention_norm_->forward(x_TD);
    std::optional<Modulated> modulated;
    if (attention_modulation_) modulated = attention_modulation_->forward(context.condition_SD, scope);
    if (modulated) normed_TD = modulated->of(normed_TD);
    MixedTokens attended = attend_own(normed_TD, context, injected);
    at::Tensor attended_TD = std::move(attended.out_TD);
    decision = std::move(attended.decision);
    if (modulated) attended_TD = modulated->gate_TD * attended_TD;
    x_TD = x_TD + dropped(attended_TD, "dropout, attention", scope);
  }
  if (cross_) x_TD = x_TD + dropped(attend_memory(cross_norm_->forward(x_TD), context), "dropout, cross", scope);
  return {x_TD, std::move(decision)};
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
    const parallel::Phase phase(parallel::PhaseName::kFeedForward);
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

PartOutput TransformerBlock::feed_recomputed(const at::Tensor& x_TD, const Context& context) {
  const auto self = std::static_pointer_cast<TransformerBlock>(shared_from_this());
  std::vector<at::Tensor> parameters = ffn_norm_->parameters();
  for (at::Tensor& parameter : moe_->parameters()) parameters.push_back(std::move(parameter));
  if (ffn_modulation_) {
    for (at::Tensor& parameter : ffn_modulation_->parameters()) parameters.push_back(std::move(parameter));
  }
  return recomputed(
      [self, scope = context.scope](const std::vector<at::Tensor>& inputs,
                                    const std::vector<RoutingChoices>& injected) {
        const BatchScope own = scope_with(scope, inputs[3]);
        return part_of(self->feed(inputs[0], {.scope = own, .condition_SD = inputs[2], .previous_logits_TE = inputs[1]},
                                  injected.empty() ? nullptr : &injected.front()));
      },
      {x_TD, context.previous_logits_TE, context.condition_SD, context.scope.pre_gate_TE}, parameters);
}

PartOutput TransformerBlock::attend_and_feed(const at::Tensor& x_TD, const Context& context,
                                             const std::vector<RoutingChoices>& injected) const {
  const RoutingChoices* next = injected.empty() ? nullptr : injected.data();
  PartOutput attended = part_of(attend(x_TD, context, next));
  if (next != nullptr) next += attended.decisions.size();
  MixedTokens fed = feed(attended.out_TD, context, next);
  return behind(std::move(attended), part_of(std::move(fed)));
}

PartOutput TransformerBlock::recomputed_to(Half last, const at::Tensor& x_TD, const Context& context) {
  const auto self = std::static_pointer_cast<TransformerBlock>(shared_from_this());
  const Memory* memory = context.memory;
  const std::optional<Sequences> source = memory != nullptr ? std::optional(memory->sequences) : std::nullopt;
  std::vector<at::Tensor> used = parameters();
  if (last == Half::kAttention) {
    const std::vector<at::Tensor> all = std::exchange(used, {});
    for (const auto& parameter : named_parameters()) {
      const bool first_half = parameter.key().starts_with("attention") || parameter.key().starts_with("cross");
      if (first_half) used.push_back(parameter.value());
    }
  }
  return recomputed(
      [self, last, source, scope = context.scope](const std::vector<at::Tensor>& inputs,
                                                  const std::vector<RoutingChoices>& injected) {
        const std::optional<Memory> read = source ? std::optional(Memory{inputs[2], *source}) : std::nullopt;
        const BatchScope own = scope_with(scope, inputs[5]);
        const Context again{.scope = own,
                            .memory = read ? &*read : nullptr,
                            .condition_SD = inputs[3],
                            .position_bias_1HLK = inputs[4],
                            .previous_logits_TE = inputs[1]};
        if (last == Half::kFeedForward) return self->attend_and_feed(inputs[0], again, injected);
        return part_of(self->attend(inputs[0], again, injected.empty() ? nullptr : injected.data()));
      },
      {x_TD, context.previous_logits_TE, memory != nullptr ? memory->hidden_TD : at::Tensor(), context.condition_SD,
       context.position_bias_1HLK, context.scope.pre_gate_TE},
      used);
}

PartOutput TransformerBlock::halves(const at::Tensor& x_TD, const Context& context) {
  if (context.recompute == Recompute::kBlock) return recomputed_to(Half::kFeedForward, x_TD, context);
  if (context.recompute == Recompute::kNone) return attend_and_feed(x_TD, context, {});
  PartOutput attended = attention_modules_ ? recomputed_to(Half::kAttention, x_TD, context)
                                           : part_of(attend(x_TD, context, /*injected=*/nullptr));
  PartOutput fed =
      moe_ ? feed_recomputed(attended.out_TD, context) : part_of(feed(attended.out_TD, context, /*injected=*/nullptr));
  return behind(std::move(attended), std::move(fed));
}

TransformerBlock::Output TransformerBlock::forward(const at::Tensor& x_TD, const Context& context) {
  parallel::check_internal(context.cache == nullptr || context.recompute == Recompute::kNone,
                           "a block with a cache is not recomputed");
  PartOutput made = halves(x_TD, context);
  Output output{.out_TD = made.out_TD, .routed = {}};
  const std::vector<const RoutedLayer*> layers = routed_layers();
  for (size_t i = 0; i < layers.size(); ++i) {
    LossTerms losses = layers[i]->losses(made.decisions.at(i), context.scope);
    output.routed.push_back({std::move(made.decisions[i]), std::move(losses)});
  }
  return output;
}

}  // namespace moetrain
