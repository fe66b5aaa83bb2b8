// defines: dense_moe: an MoE layer as loops over tokens and experts, by plain autograd and without permutation
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "moetrain/moe/moe_layer.h"

namespace moetrain {

struct DenseMoe {
  at::Tensor out_TD, load_balance, router_z;
};

inline at::Tensor dense_feed_forward(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up,
                                     const at::Tensor& down, Activation activation) {
  const at::Tensor hidden = at::mm(x, up);
  if (activation == Activation::kSwiglu) {
    const at::Tensor opened = at::mm(x, gate);
    return at::mm(opened * at::sigmoid(opened) * hidden, down);
  }
  if (activation == Activation::kRelu) return at::mm(hidden * (hidden > 0), down);
  return at::mm(0.5 * hidden * (1 + at::erf(hidden / std::sqrt(2.0))), down);
}

/// What each expert and the always-on branch give one token x [1, D], from the layer's own parameters.
class DenseParts {
 public:
  DenseParts(MoeLayer& layer, const MoeConfig& config, Activation activation)
      : parameters_(layer.named_parameters()),
        kinds_(expert_kinds(config)),
        tables_(),
        ranges_(expert_ranges(config, tables_.experts)),
        activation_(activation) {}

  at::Tensor weight(const std::string& name) const {
    const at::Tensor* found = parameters_.find(name);
    return found != nullptr ? *found : at::Tensor();
  }

  /// 0, with every parameter in its graph: one that no token chose has a gradient of zeros, as in the layer.
  at::Tensor nothing() const {
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (const auto& parameter : parameters_) sum = sum + 0 * parameter.value().sum();
    return sum;
  }

  /// Expert number `e` of the router: FFN..., constants, copies, zeros, nulls.
  at::Tensor expert(const at::Tensor& x, int64_t e) const {
    if (e < kinds_.ffn) return ffn(x, e);
    e -= kinds_.ffn;
    if (e < kinds_.constant) {
      const at::Tensor a = at::exp(at::mv(weight("local.mix")[e], x[0]));
      return (a[0] * x + a[1] * weight("local.value")[e]) / (a[0] + a[1]);
    }
    return e < kinds_.constant + kinds_.copy ? x : at::zeros_like(x);
  }

  at::Tensor with_shared(const at::Tensor& x, const at::Tensor& routed) const {
    if (!weight("shared.up.weight").defined()) return routed;
    const at::Tensor gate = weight("shared.gate.weight");
    const at::Tensor shared = dense_feed_forward(x, gate.defined() ? gate.t() : gate, weight("shared.up.weight").t(),
                                                 weight("shared.down.weight").t(), activation_);
    if (weight("residual_mix.weight").defined()) {
      const at::Tensor c = at::exp(at::mv(weight("residual_mix.weight"), x[0]) + weight("residual_mix.bias"));
      return (c[0] * routed + c[1] * shared) / (c[0] + c[1]);
    }
    const at::Tensor opening = weight("shared_gate.weight");
    return routed + (opening.defined() ? shared / (1 + at::exp(-at::mm(x, opening.t()))) : shared);
  }

 private:
  at::Tensor ffn(const at::Tensor& x, int64_t e) const {
    auto range = ranges_.begin();
    while (e >= range->first + range->count) ++range;
    const auto own = [&](const char* name) {
      const at::Tensor all = weight(std::string("experts.") + name + range->suffix);
      return all.defined() ? all[e - range->first] : all;
    };
    const at::Tensor down = weight("latent_down.weight");
    const at::Tensor out =
        dense_feed_forward(down.defined() ? at::mm(x, down.t()) : x, own("gate"), own("up"), own("down"), activation_);
    return down.defined() ? at::mm(out, weight("latent_up.weight").t()) : out;
  }

  torch::OrderedDict<std::string, at::Tensor> parameters_;
  ExpertKinds kinds_;
  MoeTables tables_;
  std::vector<ExpertRange> ranges_;
  Activation activation_;
};

/// The experts of each choice after the capacity rule, -1 where dropped; probabilities by a stable sort.
inline at::Tensor dense_choices(const at::Tensor& chosen_TK, const MoeConfig& config) {
  if (config.capacity == "dropless") return chosen_TK;
  const double tokens = static_cast<double>(chosen_TK.size(0)),
               experts = static_cast<double>(expert_kinds(config).total());
  const auto capacity = static_cast<int64_t>(std::max(
      1.0, std::ceil(config.own<BoundConfig>().factor * static_cast<double>(config.top_k) * tokens / experts)));
  at::Tensor kept = chosen_TK.clone();
  std::vector<int64_t> taken(static_cast<size_t>(experts), 0);
  for (int64_t j = 0; j < config.top_k; ++j) {
    for (int64_t t = 0; t < chosen_TK.size(0); ++t) {
      if (++taken[static_cast<size_t>(chosen_TK[t][j].item<int64_t>())] > capacity) kept[t][j] = -1;
    }
  }
  return kept;
}

/// `layer`'s own parameters, the whole micro-batch on one rank, training.
inline DenseMoe dense_moe(MoeLayer& layer, const MoeConfig& config, const at::Tensor& tokens_TD,
                          Activation activation) {
  const DenseParts parts(layer, config, activation);
  const at::Tensor powers_TE = at::exp(at::mm(tokens_TD, parts.weight("router.weight").t()));
  const at::Tensor sum_T1 = powers_TE.sum(1, true), p_TE = powers_TE / sum_T1;
  const at::Tensor chosen_TK = std::get<1>(at::sort(p_TE.detach(), /*stable=*/true, 1, /*descending=*/true))
                                   .narrow(1, 0, config.top_k)
                                   .contiguous();
  const at::Tensor kept_TK = dense_choices(chosen_TK, config);
  const int64_t experts = expert_kinds(config).total(), top_k = config.top_k;
  const at::Tensor fraction_E =
      at::bincount(chosen_TK.flatten(), {}, experts).to(at::kDouble) / static_cast<double>(tokens_TD.size(0));
  const int64_t nulls = config.null_experts;
  if (nulls > 0) {  // balanced as a whole (AdaMoE)
    at::Tensor null_fraction = fraction_E.narrow(0, experts - nulls, nulls);
    null_fraction.fill_(null_fraction.mean().item<double>());
  }
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < tokens_TD.size(0); ++t) {
    const at::Tensor x = tokens_TD.narrow(0, t, 1);
    at::Tensor chosen_sum = at::zeros({}, at::kDouble), out = parts.nothing() * x;
    for (int64_t j = 0; j < top_k; ++j) chosen_sum = chosen_sum + p_TE[t][chosen_TK[t][j].item<int64_t>()];
    for (int64_t j = 0; j < top_k; ++j) {
      const int64_t e = kept_TK[t][j].item<int64_t>();
      if (e < 0) continue;
      out = out + (config.gate == Gate::kSum1 ? p_TE[t][e] / chosen_sum : p_TE[t][e]) * parts.expert(x, e);
    }
    rows.push_back(parts.with_shared(x, out));
  }
  const double scale = static_cast<double>(experts) / static_cast<double>(top_k);
  return {at::cat(rows), (p_TE.mean(0) * fraction_E).sum() * scale * config.losses.at("load_balance").value,
          sum_T1.log().square().mean() * config.losses.at("router_z").value};
}

}  // namespace moetrain
