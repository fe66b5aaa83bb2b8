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
                                     const at::Tensor& down) {
  const at::Tensor hidden = at::mm(x, up);
  if (gate.defined()) {
    const at::Tensor opened = at::mm(x, gate);
    return at::mm(opened * at::sigmoid(opened) * hidden, down);
  }
  return at::mm(0.5 * hidden * (1 + at::erf(hidden / std::sqrt(2.0))), down);
}

/// The experts of each choice after the capacity rule, -1 where dropped; probabilities by a stable sort.
inline at::Tensor dense_choices(const at::Tensor& chosen_TK, const MoeConfig& config) {
  if (config.capacity == "dropless") return chosen_TK;
  const double tokens = static_cast<double>(chosen_TK.size(0)), experts = static_cast<double>(config.experts);
  const auto capacity = static_cast<int64_t>(
      std::max(1.0, std::ceil(config.capacity_factor * static_cast<double>(config.top_k) * tokens / experts)));
  at::Tensor kept = chosen_TK.clone();
  std::vector<int64_t> taken(static_cast<size_t>(config.experts), 0);
  for (int64_t j = 0; j < config.top_k; ++j) {
    for (int64_t t = 0; t < chosen_TK.size(0); ++t) {
      if (++taken[static_cast<size_t>(chosen_TK[t][j].item<int64_t>())] > capacity) kept[t][j] = -1;
    }
  }
  return kept;
}

/// `layer`'s own parameters, the whole micro-batch on one rank, training.
inline DenseMoe dense_moe(MoeLayer& layer, const MoeConfig& config, const at::Tensor& tokens_TD) {
  const auto parameters = layer.named_parameters();
  const auto weight = [&](const char* name) {
    const at::Tensor* found = parameters.find(name);
    return found != nullptr ? *found : at::Tensor();
  };
  const at::Tensor logits_TE = at::mm(tokens_TD, weight("router.weight").t());
  const at::Tensor powers_TE = at::exp(logits_TE), sum_T1 = powers_TE.sum(1, true);
  const at::Tensor p_TE = powers_TE / sum_T1;
  const at::Tensor chosen_TK = std::get<1>(at::sort(p_TE.detach(), /*stable=*/true, 1, /*descending=*/true))
                                   .narrow(1, 0, config.top_k)
                                   .contiguous();
  const at::Tensor kept_TK = dense_choices(chosen_TK, config);
  const at::Tensor fraction_E =
      at::bincount(chosen_TK.flatten(), {}, config.experts).to(at::kDouble) / static_cast<double>(tokens_TD.size(0));
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < tokens_TD.size(0); ++t) {
    const at::Tensor x = tokens_TD.narrow(0, t, 1);
    at::Tensor chosen_sum = at::zeros({}, at::kDouble), out = at::zeros_like(x);
    for (int64_t j = 0; j < config.top_k; ++j) chosen_sum = chosen_sum + p_TE[t][chosen_TK[t][j].item<int64_t>()];
    for (int64_t j = 0; j < config.top_k; ++j) {
      const int64_t e = kept_TK[t][j].item<int64_t>();
      if (e < 0) continue;
      const at::Tensor gate = weight("experts.gate");
      const at::Tensor combine = config.gate == "sum1" ? p_TE[t][e] / chosen_sum : p_TE[t][e];
      out = out + combine * dense_feed_forward(x, gate.defined() ? gate[e] : gate, weight("experts.up")[e],
                                               weight("experts.down")[e]);
    }
    if (weight("shared.up.weight").defined()) {
      const at::Tensor gate = weight("shared.gate.weight");
      at::Tensor shared = dense_feed_forward(x, gate.defined() ? gate.t() : gate, weight("shared.up.weight").t(),
                                             weight("shared.down.weight").t());
      const at::Tensor opening = weight("shared_gate.weight");
      if (opening.defined()) shared = shared / (1 + at::exp(-at::mm(x, opening.t())));
      out = out + shared;
    }
    rows.push_back(out);
  }
  const double experts = static_cast<double>(config.experts), top_k = static_cast<double>(config.top_k);
  return {at::cat(rows), (p_TE.mean(0) * fraction_E).sum() * (experts / top_k) * config.load_balance.value,
          sum_T1.log().square().mean() * config.router_z.value};
}

}  // namespace moetrain
