#include "moetrain/moe/attention_modules.h"

#include <ATen/ATen.h>

#include "moetrain/attention/attention_heads.h"
#include "moetrain/layers/no_tokens.h"
#include "moetrain/moe/layer_observer.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// An attention whose heads are those of a module.
AttentionShape of_module(AttentionShape attention, const MoeConfig& config) {
  attention.options.head_width = config.hidden / attention.heads;
  return attention;
}

}  // namespace

AttentionModules::AttentionModules(const ParameterSource& source, const MoeConfig& config, const Shape& shape,
                                   const MoeTables& tables)
    : RoutedLayer(
          source, config,
          {.site = shape.site, .width = shape.attention.width, .std = shape.std, .causal = shape.attention.causal},
          tables),
      attention_(of_module(shape.attention, config)),
      side_(attention_, source.options()) {
  const int64_t ranks = source.mesh()->shape().tensor, width = attention_.width;
  parallel::check_internal(attention_.heads % ranks == 0 && attention_.kv_heads % ranks == 0,
                           "AttentionModules: ", attention_.heads, " heads, ", attention_.kv_heads, " of keys, over ",
                           ranks, " ranks");
  own_heads_ = parallel::even_part(attention_.heads, source.mesh()->place().tensor, ranks);
  const int64_t kv_width = attention_.kv_heads * attention_.head_width();
  const auto add = [&](const std::string& name) {
    return register_module(name, std::make_shared<Linear>(source.at(name), width, kv_width, shape.std, Spread::kOut));
  };
  key_ = add("key");
  value_ = add("value");
  const ExpertShape expert{.width = width, .std = shape.std, .output_std = shape.output_std};
  experts_ =
      register_module("experts", std::make_shared<HeadExperts>(source.at("experts"), tables.experts, expert, config));
}

MixedTokens AttentionModules::mix(const at::Tensor& tokens_TD, const BatchScope& scope, KeyValueCache* cache,
                                  const at::Tensor& bias_1HLK, const RoutingChoices* injected) const {
  RoutingDecision decision = route(tokens_TD, scope, /*previous_logits_TE=*/{}, injected);
  const at::Tensor query_TKA = experts_->map(tokens_TD, decision.assignment);
  const at::Tensor seen_TKA = attend(tokens_TD, query_TKA, scope, cache, bias_1HLK);
  if (scope.observer != nullptr) {
    scope.observer->see(
        ObservedExperts{.layer = site().block,
                        .slot = Slot::kAttention,
                        .decision = decision,
                        .routed = config_.experts,
                        .computing = config_.experts,
                        .input_TD = tokens_TD,
                        .hidden_units = std::vector<int64_t>(static_cast<size_t>(config_.experts), config_.hidden),
                        .hidden_TKF = seen_TKA});
  }
  return {experts_->reduce(seen_TKA, decision.assignment), std::move(decision)};
}

at::Tensor AttentionModules::attend(const at::Tensor& tokens_TD, const at::Tensor& query_TKA, const BatchScope& scope,
                                    KeyValueCache* cache, const at::Tensor& bias_1HLK) const {
  const Sequences& sequences = *scope.sequences;
  if (sequences.tokens() == 0) {  // nor has any other rank of the group
    return query_TKA + zeros_of(*key_, query_TKA) + zeros_of(*value_, query_TKA);
  }
  const int64_t G = sequences.tokens(), K = query_TKA.size(1), H = attention_.heads, d = attention_.head_width();
  const auto [first, own] = own_heads_;
  const AdapterDraws draws = AdapterDraws::of_group(scope);
  const at::Tensor all_GD = scope.parts.gather(tokens_TD);
  // The choices of a head lie beside each other, since they share its keys.
  const at::Tensor query_GHKd =
      scope.parts.gather(query_TKA.flatten(1)).view({G, K, H, d}).narrow(2, first, own).transpose(1, 2);
  const at::Tensor bias = bias_1HLK.defined() ? bias_1HLK.repeat_interleave(K, 1) : bias_1HLK;
  const at::Tensor seen_SHLd = side_.mix(
      {split_heads(query_GHKd.flatten(1), sequences, d), split_heads(key_->forward(all_GD, draws), sequences, d),
       split_heads(value_->forward(all_GD, draws), sequences, d)},
      {attention_.scale(), attention_.options.weights}, sequences, cache, bias);
  at::Tensor seen_GKHd = merge_heads(seen_SHLd, sequences).view({G, own, K, d}).transpose(1, 2);
  if (own < H) seen_GKHd = at::constant_pad_nd(seen_GKHd, {0, 0, first, H - first - own});
  return scope.parts.sum(seen_GKHd.flatten(1)).view(query_TKA.sizes());
}

}  // namespace moetrain
