#include <algorithm>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/routers/router.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace moetrain {
namespace {

using parallel::concat;
using parallel::user_error;

/// "moe.router = "thor""
std::string named(const MoeConfig& config) { return concat("moe.router = \"", config.router, "\""); }

void check_unlearned(const MoeConfig& config, const CapacityRule& capacity) {
  if (config.jitter > 0) {
    user_error("moe.jitter (", config.jitter, ") with ", named(config),
               ": this router does not read the tokens; nearest legal: jitter = 0");
  }
  if (config.gating_residual) {
    user_error("moe.gating_residual with ", named(config),
               ": its choice is fixed, whatever the layer before thought; nearest legal: gating_residual = false");
  }
  if (config.task_bias) {
    user_error("moe.task_bias with ", named(config),
               ": it has no logits for which a task could speak; nearest legal: task_bias = false");
  }
  if (capacity.bounds() && config.own<BoundConfig>().drop == Drop::kProbability) {
    user_error("moe.bound.drop = \"probability\" with ", named(config),
               ": all its gates are equal, so none is the lowest; nearest legal: drop = \"random\" or \"position\"");
  }
}

void check_gate(const MoeConfig& config, const RouterDemands& demands) {
  if (!demands.gates.empty() && std::ranges::count(demands.gates, Gate(config.gate)) == 0) {
    std::string legal;
    for (const parallel::Enum<Gate> gate : demands.gates)
      legal += concat(legal.empty() ? "" : " or ", "\"", gate, "\"");
    user_error(
        "moe.gate = \"", config.gate, "\" with ", named(config),
        demands.learned ? ": not the gate from which this router learns" : ": it has no probabilities to weigh by",
        "; nearest legal: gate = ", legal);
  }
  const ExpertKinds kinds = expert_kinds(config);
  if (config.gate == Gate::kTrue1 && kinds.zero + kinds.null == 0) {
    user_error("moe.gate = \"true1\" without zero or null experts is sum1; nearest legal: gate = \"sum1\" or ",
               "null_experts = 1");
  }
}

void check_tasks(const MoeConfig& config, const RouterPreset& preset, const std::vector<std::string>& tasks) {
  if (!reads_tasks(config, preset.demands)) return;
  if (tasks.empty()) {
    user_error(config.task_bias ? "moe.task_bias" : "", config.task_bias ? " with " : "", named(config),
               " goes by the task of a sequence, and the run has no tasks; nearest legal: tasks.names = \"en, de\", ",
               "groups of documents or token files, or ",
               config.task_bias ? "task_bias = false" : "router = \"top_k\"");
  }
  if (preset.check_tasks != nullptr) preset.check_tasks(config, tasks);
}

/// What a router that mixes whole sequences has no place for.
void check_mixing(const MoeConfig& config) {
  const std::string reason = ": it mixes tokens as they are, by weights that sum to 1; nearest legal: ";
  if (config.jitter > 0) user_error("moe.jitter (", config.jitter, ") with ", named(config), reason, "jitter = 0");
  if (config.route_scale != 1.0) {
    user_error("moe.route_scale (", config.route_scale, ") with ", named(config), reason, "route_scale = 1");
  }
  if (config.gating_residual) {
    user_error("moe.gating_residual with ", named(config), reason, "gating_residual = false");
  }
  if (config.task_bias) user_error("moe.task_bias with ", named(config), reason, "task_bias = false");
}

void check_sequences(const MoeConfig& config, const RouterDemands& demands, const RouterUse& use) {
  if (use.causal) {
    user_error(
        "moe.rows = \"sequences\" in a decoder block, whose tokens come one after another; nearest legal: ",
        "rows = \"tokens\", or a model whose blocks see whole sequences (model.kind = \"classifier\", an encoder)");
  }
  if (!demands.sequences || demands.reads_ids) {
    user_error("moe.rows = \"sequences\" with ", named(config),
               ": it goes by single tokens; nearest legal: rows = \"tokens\", or router = \"hecto\"");
  }
}

void check_capacity(const MoeConfig& config, const CapacityRule& capacity, const RouterDemands& demands) {
  if (!demands.capacity && capacity.bounds()) {
    user_error(
        "moe.capacity = \"", config.capacity, "\" with ", named(config),
        ": its load is even in expectation and its method drops no token; nearest legal: capacity = \"dropless\"");
  }
  const parallel::Enum<Drop> drop = config.own<BoundConfig>().drop;
  if (demands.experts_choose && (!capacity.bounds() || !capacity.even || drop != Drop::kProbability)) {
    user_error(
        "moe.capacity = \"", config.capacity, "\" and moe.bound.drop = \"", drop, "\" with ", named(config),
        ": an expert takes its most probable tokens up to its capacity; nearest legal: capacity = \"factor\" and ",
        "bound.drop = \"probability\"");
  }
  if (capacity.check != nullptr) capacity.check(config);
}

}  // namespace

void check_router(const MoeConfig& config, const RouterPreset& preset, const CapacityRule& capacity,
                  const RouterUse& use) {
  const RouterDemands& demands = preset.demands;
  if (use.causal && !demands.causal_safe) {
    user_error(named(config), " in a decoder block: it mixes a sequence's tokens, so that each would see later ones; ",
               "nearest legal: router = \"top_k\", or this one in an encoder");
  }
  if (demands.reads_ids && !use.ids) {
    user_error(named(config), " in a model of images, whose patches have no ids; nearest legal: router = \"top_k\"");
  }
  if (demands.pre_gated && !use.pre_gates) {
    user_error(named(config), " in a model without a router at its entrance; nearest legal: router = \"top_k\", or ",
               "model.kind = \"decoder_lm\"");
  }
  if (config.rows == Rows::kSequences) check_sequences(config, demands, use);
  if (config.router_bias && !demands.biased_scores) {
    user_error("moe.router_bias = true with ", named(config),
               ": its scores have no place for one; nearest legal: router_bias = false, or router = \"top_k\"");
  }
  const int64_t experts = expert_kinds(config).total();
  if (config.top_k > experts) {
    const char* all = experts == config.experts ? "moe.experts" : "the experts of all kinds";
    user_error("moe.top_k (", config.top_k, ") must be at most ", all, " (", experts,
               "); nearest legal: top_k = ", experts, " or experts = ", config.experts + config.top_k - experts);
  }
  if (demands.top_k > 0 && config.top_k != demands.top_k) {
    user_error("moe.top_k (", config.top_k, ") with ", named(config), ": it sends a token to ", demands.top_k,
               demands.top_k == 1 ? " expert" : " experts", "; nearest legal: top_k = ", demands.top_k);
  }
  check_gate(config, demands);
  check_capacity(config, capacity, demands);
  if (!demands.learned) check_unlearned(config, capacity);
  if (!demands.causal_safe) check_mixing(config);
  if (preset.check != nullptr) preset.check(config);
  check_tasks(config, preset, use.tasks);
}

bool reads_tasks(const MoeConfig& config, const RouterDemands& demands) {
  return config.task_bias || demands.reads_tasks;
}

void check_learns(const MoeConfig& config) {
  const bool sums_to_one = config.gate == Gate::kSum1 || config.gate == Gate::kSum1Kept || config.gate == Gate::kTrue1;
  if (!sums_to_one || config.top_k > 1 || expert_kinds(config).total() == 1) return;
  user_error("moe.gate = \"", config.gate, "\" with moe.top_k = 1 makes every combine weight 1, from which the router ",
             "learns nothing; nearest legal: gate = \"raw\" (as Switch) or top_k = 2");
}

}  // namespace moetrain
