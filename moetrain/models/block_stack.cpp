#include "moetrain/models/block_stack.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace moetrain {

BlockStack::BlockStack(const ParameterSource& source, const ModelConfig& config, const MoeConfig& moe,
                       const StackShape& shape, const MoeTables& tables)
    : side_(shape.side) {
  const auto configs = layer_configs(moe, total_blocks(config));
  const auto attentions = layer_configs(moe, total_blocks(config), Slot::kAttention);
  const std::vector<bool> attends = attention_blocks(config), windowed = windowed_blocks(config);
  int64_t previous_experts = 0;
  for (int64_t i = 0; i < shape.blocks; ++i) {
    const int64_t layer = shape.first_layer + i;
    const std::optional<MoeConfig>& own = configs[static_cast<size_t>(layer)];
    const BlockShape block{.layer = layer,
                           .causal = shape.causal,
                           .attention = attends[static_cast<size_t>(layer)],
                           .windowed = windowed[static_cast<size_t>(layer)],
                           .cross = shape.cross,
                           .modulated = shape.modulated,
                           .previous_experts = previous_experts};
    const std::string name = std::to_string(i);
    blocks_.push_back(register_module(
        name, std::make_shared<TransformerBlock>(
                  source.at(name), config, BlockExperts{attentions[static_cast<size_t>(layer)], own}, block, tables)));
    if (own) previous_experts = expert_kinds(*own).total();
  }
  const auto first = attends.begin() + shape.first_layer;
  const bool any = std::find(first, first + shape.blocks, true) != first + shape.blocks;
  if (!any || config.attending.positions != Positions::kRelative) return;
  position_bias_ =
      register_module("position_bias",
                      std::make_shared<PositionBias>(source.at("position_bias"), config.attending.own<RelativeConfig>(),
                                                     config.heads, shape.causal, config.init_std));
}

at::Tensor BlockStack::position_bias(const Context& context) const {
  const Sequences& sequences = *context.scope.sequences;
  if (!position_bias_ || sequences.tokens() == 0) return {};
  for (const BlockCache& cache : context.caches) {  // of those blocks that attend, all the same
    if (cache.own.length() > 0) return position_bias_->next(cache.own.lengths());
  }
  return position_bias_->forward(sequences.longest(), /*past=*/0);
}

at::Tensor BlockStack::forward(at::Tensor x_TD, const Context& context, ModelOutput& output) {
  const auto& [scope, memory, caches, recompute, condition_SD] = context;
  parallel::check_internal(caches.empty() || caches.size() == blocks_.size(), caches.size(), " caches for ",
                           blocks_.size(), " blocks");
  const at::Tensor bias_1HLK = position_bias(context);
  at::Tensor previous_logits_TE;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    auto [out_TD, routed] = blocks_[i]->forward(x_TD, {.scope = scope,
                                                       .memory = memory,
                                                       .cache = caches.empty() ? nullptr : &caches[i],
                                                       .condition_SD = condition_SD,
                                                       .position_bias_1HLK = bias_1HLK,
                                                       .previous_logits_TE = previous_logits_TE,
                                                       .recompute = recompute});
    x_TD = out_TD;
    const std::vector<const RoutedLayer*> layers = blocks_[i]->routed_layers();
    for (size_t n = 0; n < layers.size(); ++n) {
      auto& [decision, losses] = routed[n];
      output.losses.add_all(losses);
      const LayerSite& site = layers[n]->site();
      const Rows rows = layers[n]->rows();
      if (site.slot == Slot::kFeedForward) previous_logits_TE = decision.logits_TE;
      output.routing.push_back({site, side_, rows, rows == Rows::kTokens ? scope.global_tokens : scope.global_sequences,
                                std::move(decision)});
    }
  }
  return x_TD;
}

}  // namespace moetrain
