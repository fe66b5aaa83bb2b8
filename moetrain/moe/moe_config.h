// defines: MoeConfig, visit
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/base/field.h"

namespace moetrain {

/// One MoE layer: router, experts, always-on branch and losses.
struct MoeConfig {
  std::string layers = "all";
  std::string router = "top_k";
  int64_t experts = 8;
  int64_t top_k = 2;
  std::vector<int64_t> experts_by_layer;
  int64_t latent = 0;
  int64_t hidden = 256;
  int64_t constant_experts = 0;
  int64_t copy_experts = 0;
  int64_t zero_experts = 0;
  int64_t null_experts = 0;
  // The router's.
  std::string gate = "sum1";
  std::string capacity = "dropless";
  double capacity_factor = 1.25;
  std::string drop = "position";
  double jitter = 0.0;
  int64_t cosine_width = 0;
  std::string stochastic = "slices";
  std::string stochastic_inference = "sentence";
  // The always-on branch's.
  int64_t shared_hidden = 0;
  std::string shared_combine = "add";
  bool shared_gate = true;
  // The losses'.
  double load_balance = 0.01;
  std::string balance_choices = "all";
  double router_z = 0.001;
  double importance = 0.0;
  double load = 0.0;
  double mutual_information = 0.0;
  double entropy = 0.0;
};

template <class Visitor>
void visit(MoeConfig& config, Visitor& field) {
  using namespace parallel;
  field("layers", config.layers, anything(),
        "blocks with experts: \"all\", \"none\", \"odd\", \"even\", \"every:N\" or a list from 0 such as \"1,3\" or "
        "\"0,4-11\"");
  field("router", config.router, anything(),
        "published router: top_k, switch, gshard, noisy_top_k, cosine, hash, thor");
  field("experts", config.experts, between(1, 1 << 16), "routed experts in a layer");
  field("top_k", config.top_k, between(1, 1 << 10), "experts per token");
  field("experts_by_layer", config.experts_by_layer, between(1, 1 << 16),
        "one number of routed experts for each block with experts, in order (as PR-MoE); empty: moe.experts in each");
  field("latent", config.latent, between(0, 1 << 20),
        "width in which routed experts work, tokens being projected down before dispatch (LatentMoE); 0: off");
  field("hidden", config.hidden, between(1, 1 << 24), "hidden width of one expert");
  field("constant_experts", config.constant_experts, between(0, 1 << 10),
        "more experts: a learned constant mixed with the token (MoE++)");
  field("copy_experts", config.copy_experts, between(0, 1 << 10), "more experts: the token itself (MoE++)");
  field("zero_experts", config.zero_experts, between(0, 1 << 10), "more experts: nothing (MoE++)");
  field("null_experts", config.null_experts, between(0, 1 << 10),
        "more experts: nothing, balanced as a whole and not one by one (AdaMoE)");
  field("gate", config.gate, one_of({"sum1", "raw", "sum1_kept", "hard"}),
        "combine weights: sum1 (softmax over the chosen, as Mixtral), raw (softmax over all, as Switch), sum1_kept (as "
        "sum1, over what was not dropped, as GShard), hard (1 / top_k, for hash and thor)");
  field("capacity", config.capacity, one_of({"dropless", "factor"}), "never drop, or bound the tokens of an expert");
  field("capacity_factor", config.capacity_factor, above(0),
        "with capacity = factor: an expert takes ceil(factor * top_k * tokens / experts) of the global micro-batch");
  field("drop", config.drop, one_of({"position", "probability", "random"}),
        "what leaves a full expert: later tokens and later choices, improbable choices, or choices drawn at random");
  field("jitter", config.jitter, half_open(0, 1),
        "in training the router sees its tokens times U[1 - jitter, 1 + jitter]; 0: off, Switch: 0.01");
  field("cosine_width", config.cosine_width, between(0, 1 << 20),
        "router = cosine: width of the projected tokens; 0: experts / 2, at least 2");
  field("stochastic", config.stochastic, one_of({"slices", "batch_layer", "sentence", "token"}),
        "router = thor, in training: what shares one drawn expert");
  field("stochastic_inference", config.stochastic_inference, one_of({"sentence", "token", "ensemble"}),
        "router = thor, in evaluation: what shares one drawn expert; ensemble: the mean of all experts");
  field("shared_hidden", config.shared_hidden, between(0, 1 << 24), "hidden width of the shared expert; 0: none");
  field("shared_gate", config.shared_gate, anything(), "scale the shared expert by a sigmoid gate (as Qwen2-MoE)");
  field("shared_combine", config.shared_combine, one_of({"add", "residual"}),
        "add the shared expert to the routed ones, or mix both by a learned softmax of two (residual, as PR-MoE)");
  field("load_balance", config.load_balance, at_least(0), "weight of the load-balance loss; 0: off");
  field("balance_choices", config.balance_choices, one_of({"all", "first"}),
        "load_balance counts all choices, or first choices only (as GShard)");
  field("router_z", config.router_z, at_least(0), "weight of the router z-loss; 0: off");
  field("importance", config.importance, at_least(0), "weight of the CV^2 of the experts' summed gates; 0: off");
  field("load", config.load, at_least(0),
        "router = noisy_top_k: weight of the CV^2 of the experts' smooth load; 0: off");
  field("mutual_information", config.mutual_information, at_least(0),
        "weight of -I(token; expert): confident tokens, balanced experts; 0: off");
  field("entropy", config.entropy, at_least(0), "weight of the router's mean entropy: confident tokens; 0: off");
}

}  // namespace moetrain
