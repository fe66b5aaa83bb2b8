#include "moetrain/attention/latent_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

#include "moetrain/attention/attention_product.h"
#include "moetrain/layers/no_tokens.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// Of both latents, whatever model.norm_epsilon is; as published.
constexpr double kLatentEpsilon = 1e-6;

/// Of a query's product with a key.
double softmax_scale(const AttentionConfig& config) {
  const auto& latent = config.own<LatentConfig>();
  const double plain = 1 / std::sqrt(static_cast<double>(latent.plain_width + latent.turned_width));
  const auto& yarn = config.own<YarnConfig>();
  if (config.rope != RopeKind::kYarn || yarn.mscale_all == 0) return plain;
  const double sharper = yarn_sharpening(yarn.factor, yarn.mscale_all);
  return plain * sharper * sharper;
}

}  // namespace

LatentAttention::LatentAttention(const ParameterSource& source, const AttentionShape& shape, double std,
                                 double output_std)
    : shape_(shape),
      latent_(shape.options.own<LatentConfig>()),
      ranks_(source.mesh()->shape().tensor),
      scale_(softmax_scale(shape.options)),
      rotary_(rope_frequencies(shape.options, latent_.turned_width, shape.rope_theta), source.options(),
              latent_.pairs) {
  parallel::check_internal(shape.heads % ranks_ == 0, "LatentAttention: ", shape.heads, " heads over ", ranks_);
  const auto add = [&](const std::string& name, int64_t in_dim, int64_t out_dim, double init, Spread spread,
                       bool bias) {
    return register_module(name, std::make_shared<Linear>(source.at(name), in_dim, out_dim, init, spread,
                                                          bias ? Bias::kYes : Bias::kNone));
  };
  const auto add_norm = [&](const std::string& name, int64_t dim) {
    return register_module(name, std::make_shared<Norm>(source.at(name), NormKind::kRms, dim, kLatentEpsilon));
  };
  const bool bias = shape.options.bias == ProjectionBias::kAll;
  const auto& [query_rank, kv_rank, plain, turned, value, pairs] = latent_;
  const int64_t query_width = shape.heads * (plain + turned);
  if (query_rank == 0) {
    query_ = add("query", shape.width, query_width, std, Spread::kOut, false);
  } else {
    query_down_ = add("query_down", shape.width, query_rank, std, Spread::kNone, bias);
    query_norm_ = add_norm("query_norm", query_rank);
    query_up_ = add("query_up", query_rank, query_width, std, Spread::kOut, false);
  }
  kv_down_ = add("kv_down", shape.width, kv_rank + turned, std, Spread::kNone, bias);
  kv_norm_ = add_norm("kv_norm", kv_rank);
  kv_up_ = add("kv_up", kv_rank, shape.heads * (plain + value), std, Spread::kOut, false);
  output_ = add("output", shape.heads * value, shape.width, output_std, Spread::kIn, bias);
}

at::Tensor LatentAttention::queries(const at::Tensor& all_TD, const Sequences& sequences, const KeyValueCache* cache,
                                    const AdapterDraws& draws) const {
  const at::Tensor query_TD =
      query_ ? query_->forward(all_TD, draws)
             : query_up_->forward(query_norm_->forward(query_down_->forward(all_TD, draws)), draws);
  const at::Tensor query_SHLd = split_heads(query_TD, sequences, latent_.plain_width + latent_.turned_width);
  const at::Tensor turned_SHLr = turned(query_SHLd.narrow(3, latent_.plain_width, latent_.turned_width), cache);
  return at::cat({query_SHLd.narrow(3, 0, latent_.plain_width), turned_SHLr}, 3);
}

at::Tensor LatentAttention::turned(const at::Tensor& x_SHLr, const KeyValueCache* cache) const {
  if (cache == nullptr || cache->length() == 0) return rotary_.rotate(x_SHLr, 0);
  return rotary_.rotate_next(x_SHLr, cache->lengths());
}

at::Tensor LatentAttention::forward(const at::Tensor& input_TD, const Sequences& sequences, KeyValueCache* cache,
                                    const parallel::TokenParts& parts, const AdapterDraws& draws,
                                    const at::Tensor&) const {
  if (sequences.tokens() == 0) return zeros_of(*this, input_TD);  // nor has any other rank of the group
  const int64_t past = cache != nullptr ? cache->length() : 0;
  const at::Tensor all_TD = parts.gather(input_TD);
  const at::Tensor query_SHLd = queries(all_TD, sequences, cache, draws);
  const at::Tensor down_TC = kv_down_->forward(all_TD, draws);
  const at::Tensor latent_TC = kv_norm_->forward(down_TC.narrow(1, 0, latent_.kv_rank));
  const at::Tensor turned_S1Lr = turned(
      split_heads(down_TC.narrow(1, latent_.kv_rank, latent_.turned_width), sequences, latent_.turned_width), cache);
  const int64_t plain = latent_.plain_width, heads = shape_.heads / ranks_;
  const at::Tensor up_SHLd = split_heads(kv_up_->forward(latent_TC, draws), sequences, plain + latent_.value_width);
  at::Tensor key_SHLd = at::cat({up_SHLd.narrow(3, 0, plain), turned_S1Lr.expand({-1, heads, -1, -1})}, 3);
  at::Tensor value_SHLd = up_SHLd.narrow(3, plain, latent_.value_width);
  if (cache != nullptr) cache->extend(key_SHLd, value_SHLd, sequences);
  const AttentionProduct product{.scale = scale_};
  at::Tensor mixed_SHLd;
  if (past > 0) mixed_SHLd = product.of_next(query_SHLd, key_SHLd, value_SHLd, cache->lengths(), /*window=*/0);
  std::optional<at::Tensor> seen;
  if (past > 0 && !cache->uniform()) seen = cache->seen_S11L(/*window=*/0);
  if (!shape_.causal && !sequences.uniform()) seen = sequences.there_SL().unsqueeze(1).unsqueeze(1);
  if (!mixed_SHLd.defined()) {
    mixed_SHLd = product.of(query_SHLd, key_SHLd, value_SHLd, {seen, shape_.causal && past == 0});
  }
  return output_->with_bias(parts.sum(output_->forward(merge_heads(mixed_SHLd, sequences), draws)));
}

}  // namespace moetrain
