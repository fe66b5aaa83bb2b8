#include "moetrain/models/transformer_block.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

namespace moetrain {

TransformerBlock::TransformerBlock(const ParameterSource& source, const ModelConfig& config, const MoeConfig* moe,
                                   int64_t layer, const parallel::NameTable<RouterPreset>& routers) {
  // The residual stream collects 2 outputs a block; scaling them keeps its variance at depth (GPT-2).
  const double output_std = config.init_std / std::sqrt(2.0 * static_cast<double>(config.layers));
  const auto norm = [&](const std::string& name) {
    return register_module(
        name, std::make_shared<Norm>(source.at(name), parse_norm(config.norm), config.width, config.norm_epsilon));
  };
  attention_norm_ = norm("attention_norm");
  const AttentionShape attention{config.width, config.heads, config.kv_heads, config.rope_theta};
  attention_ = register_module(
      "attention", std::make_shared<Attention>(source.at("attention"), attention, config.init_std, output_std));
  ffn_norm_ = norm("ffn_norm");
  const Activation activation = parse_activation(config.activation);
  if (moe != nullptr) {
    const MoeLayer::Shape shape{config.width, activation, config.init_std, output_std, layer};
    moe_ = register_module("moe", std::make_shared<MoeLayer>(source.at("moe"), *moe, shape, routers));
  } else {
    const FeedForward::Shape shape{config.width, config.ffn_hidden, activation};
    feed_forward_ = register_module(
        "feed_forward", std::make_shared<FeedForward>(source.at("feed_forward"), shape, config.init_std, output_std));
  }
}

TransformerBlock::Output TransformerBlock::forward(at::Tensor x_TD, int64_t sequence_length, const BatchScope& scope,
                                                   KeyValueCache* cache) {
  x_TD = x_TD + attention_->forward(attention_norm_->forward(x_TD), sequence_length, cache);
  const at::Tensor normed_TD = ffn_norm_->forward(x_TD);
  if (feed_forward_) return {x_TD + feed_forward_->forward(normed_TD), std::nullopt};
  MoeOutput moe = moe_->forward(normed_TD, scope);
  x_TD = x_TD + std::exchange(moe.out_TD, at::Tensor());
  return {x_TD, std::move(moe)};
}

}  // namespace moetrain
