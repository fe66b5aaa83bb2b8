#include "moetrain/routers/capacities/capacity_rules.h"

#include <algorithm>
#include <cmath>

#include "moetrain/config/expert_kinds.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// tau: what a feed-forward takes over what a zero-computation expert takes.
std::vector<int64_t> shared_out(const MoeConfig& config, int64_t global_tokens, double factor, double tau) {
  const ExpertKinds kinds = expert_kinds(config);
  const double choices = static_cast<double>(config.top_k * global_tokens);
  const double parts = tau * static_cast<double>(kinds.ffn) + static_cast<double>(kinds.zero_computation());
  const auto capacity = [&](double weight) {
    const double wanted = std::ceil(factor * (weight * choices / parts));
    const auto useful = static_cast<int64_t>(std::min(wanted, static_cast<double>(global_tokens)));
    return std::max(config.own<BoundConfig>().minimum, useful);
  };
  std::vector<int64_t> capacity_E(static_cast<size_t>(kinds.total()), capacity(1.0));
  std::fill_n(capacity_E.begin(), kinds.ffn, capacity(tau));
  return capacity_E;
}

std::vector<int64_t> even_capacities(const MoeConfig& config, int64_t global_tokens, double factor) {
  return shared_out(config, global_tokens, factor, 1.0);
}

std::vector<int64_t> capacities_by_kind(const MoeConfig& config, int64_t global_tokens, double factor) {
  return shared_out(config, global_tokens, factor, config.own<ByKindConfig>().tau);
}

void check_by_kind(const MoeConfig& config) {
  if (expert_kinds(config).zero_computation() > 0) return;
  parallel::user_error(
      "moe.capacity = \"by_kind\" without constant, copy, zero or null experts is \"factor\"; nearest ",
      "legal: capacity = \"factor\" or zero_experts = 1");
}

}  // namespace

parallel::NameTable<CapacityRule> builtin_capacities() {
  return {"capacity rule",
          {{"dropless", {}},
           {"factor", {.capacities = even_capacities}},
           {"by_kind",
            {.capacities = capacities_by_kind,
             .even = false,
             .keys = parallel::own_keys_of<ByKindConfig>,
             .check = check_by_kind}}}};
}

}  // namespace moetrain
