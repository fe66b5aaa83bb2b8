// defines: MoeConfig, visit
#pragma once
#include <cstdint>
#include <string>

#include "parallel/base/field.h"

namespace moetrain {

/// One MoE layer: router, experts, always-on branch and losses.
struct MoeConfig {
  std::string layers = "all";
  std::string router = "top_k";
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t hidden = 256;
  std::string gate = "sum1";
  std::string capacity = "dropless";
  double capacity_factor = 1.25;
  int64_t shared_hidden = 0;
  bool shared_gate = true;
  double load_balance = 0.01;
  double router_z = 0.001;
};

template <class Visitor>
void visit(MoeConfig& config, Visitor& field) {
  using namespace parallel;
  field("layers", config.layers, anything(),
        "blocks with experts: \"all\", \"none\", \"odd\", \"even\", \"every:N\" or a list from 0 such as \"1,3\" or "
        "\"0,4-11\"");
  field("router", config.router, anything(), "name of a router; `top_k`: softmax over the experts, the top_k largest");
  field("experts", config.experts, between(1, 1 << 16), "routed experts in a layer");
  field("top_k", config.top_k, between(1, 1 << 10), "experts per token");
  field("hidden", config.hidden, between(1, 1 << 24), "hidden width of one expert");
  field("gate", config.gate, one_of({"sum1", "raw"}),
        "combine weights: sum1 (softmax over the chosen, as Mixtral) or raw (softmax over all, as Switch)");
  field("capacity", config.capacity, one_of({"dropless", "factor"}), "never drop, or bound the tokens of an expert");
  field("capacity_factor", config.capacity_factor, above(0),
        "with capacity = factor: an expert takes ceil(factor * top_k * tokens / experts) of the global micro-batch");
  field("shared_hidden", config.shared_hidden, between(0, 1 << 24), "hidden width of the shared expert; 0: none");
  field("shared_gate", config.shared_gate, anything(), "scale the shared expert by a sigmoid gate (as Qwen2-MoE)");
  field("load_balance", config.load_balance, at_least(0), "weight of the load-balance loss; 0: off");
  field("router_z", config.router_z, at_least(0), "weight of the router z-loss; 0: off");
}

}  // namespace moetrain
