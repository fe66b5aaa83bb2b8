#include <algorithm>

#include "moetrain/moe/expert_kinds.h"
#include "moetrain/routers/router.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace moetrain {
namespace {

using parallel::concat;
using parallel::user_error;

/// "moe.router = "thor""
std::string named(const MoeConfig& config) { return concat("moe.router = \"", config.router, "\""); }

/// "moe.experts (8)"; with other kinds their sum.
std::string all_experts(const MoeConfig& config) {
  const ExpertKinds kinds = expert_kinds(config);
  return concat(kinds.total() == kinds.ffn ? "moe.experts (" : "the experts of all kinds (", kinds.total(), ")");
}

void refuse_above_zero(const MoeConfig& config, const char* key, double value, const std::string& reason) {
  if (value > 0)
    user_error("moe.", key, " (", value, ") with ", named(config), ": ", reason, "; nearest legal: ", key, " = 0");
}

void check_unlearned(const MoeConfig& config) {
  const std::string reason = "this router has no parameter that the loss could move";
  refuse_above_zero(config, "load_balance", config.load_balance, reason);
  refuse_above_zero(config, "router_z", config.router_z, reason);
  refuse_above_zero(config, "importance", config.importance, reason);
  refuse_above_zero(config, "mutual_information", config.mutual_information, reason);
  refuse_above_zero(config, "entropy", config.entropy, reason);
  refuse_above_zero(config, "jitter", config.jitter, "this router does not read the tokens");
  if (config.capacity == "factor" && config.drop == "probability") {
    user_error("moe.drop = \"probability\" with ", named(config),
               ": all its gates are equal, so none is the lowest; nearest legal: drop = \"random\" or \"position\"");
  }
}

void check_gate(const MoeConfig& config, const RouterDemands& demands) {
  if (!demands.gates.empty() && std::ranges::count(demands.gates, config.gate) == 0) {
    std::string legal;
    for (const std::string& gate : demands.gates) legal += concat(legal.empty() ? "" : " or ", "\"", gate, "\"");
    user_error(
        "moe.gate = \"", config.gate, "\" with ", named(config),
        demands.learned ? ": not the gate from which this router learns" : ": it has no probabilities to weigh by",
        "; nearest legal: gate = ", legal);
  }
  const bool sums_to_one = config.gate == "sum1" || config.gate == "sum1_kept";
  if (sums_to_one && config.top_k == 1 && expert_kinds(config).total() > 1) {
    user_error("moe.gate = \"", config.gate,
               "\" with moe.top_k = 1 makes every combine weight 1, from which the router ",
               "learns nothing; nearest legal: gate = \"raw\" (as Switch) or top_k = 2");
  }
}

void check_losses(const MoeConfig& config, const RouterDemands& demands) {
  if (!demands.learned_noise) {
    refuse_above_zero(config, "load", config.load,
                      "the load of importance + load is a probability under noise of a learned scale (noisy_top_k)");
  }
  const int64_t experts = expert_kinds(config).total();
  if (config.load > 0 && config.top_k == experts) {
    user_error("moe.load (", config.load, ") with moe.top_k = ", all_experts(config),
               ": every expert is chosen whatever the noise; nearest legal: load = 0 or top_k = ", experts - 1);
  }
  for (const auto& [key, value] : {std::pair{"importance", config.importance}, std::pair{"load", config.load}}) {
    if (experts == 1) refuse_above_zero(config, key, value, "one expert has no variation");
  }
}

}  // namespace

void check_router(const MoeConfig& config, const RouterDemands& demands) {
  const ExpertKinds kinds = expert_kinds(config);
  if (config.top_k > kinds.total()) {
    user_error("moe.top_k (", config.top_k, ") must be at most ", all_experts(config),
               "; nearest legal: top_k = ", kinds.total(),
               " or experts = ", config.top_k - (kinds.total() - kinds.ffn));
  }
  if (demands.top_k > 0 && config.top_k != demands.top_k) {
    user_error("moe.top_k (", config.top_k, ") with ", named(config), ": it sends a token to ", demands.top_k,
               demands.top_k == 1 ? " expert" : " experts", "; nearest legal: top_k = ", demands.top_k);
  }
  check_gate(config, demands);
  if (!demands.capacity && config.capacity == "factor") {
    user_error(
        "moe.capacity = \"factor\" with ", named(config),
        ": its load is even in expectation and its method drops no token; nearest legal: capacity = \"dropless\"");
  }
  if (!demands.learned) check_unlearned(config);
  check_losses(config, demands);
}

}  // namespace moetrain
