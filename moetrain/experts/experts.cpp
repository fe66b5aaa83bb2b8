#include <functional>
#include <numeric>

#include "moetrain/experts/expert.h"

namespace moetrain {

// Kinds of experts, each in a file of its own.
ExpertPreset feed_forward_expert();

parallel::NameTable<ExpertPreset> builtin_experts() { return {"expert", {{"feed_forward", feed_forward_expert()}}}; }

namespace {

int64_t elements(const ExpertWeight& weight) {
  return std::accumulate(weight.dims.begin(), weight.dims.end(), int64_t{1}, std::multiplies<>());
}

/// AutogradCompute keeps no row's numbers, and runs forward once more for the rows' gradients and once for the
/// weights'.
ExpertCosts costs_by_autograd(const std::vector<ExpertWeight>& weights) {
  ExpertCosts costs;
  for (const ExpertWeight& weight : weights) {
    if (weight.dims.size() < 2) continue;
    ++costs.matrices;
    costs.multiply_adds += static_cast<double>(elements(weight));
    costs.in_backward += weight.dims.back();  // a result of each multiplication, before its activation
  }
  costs.made_again = 2 * costs.multiply_adds;
  costs.in_backward *= 3;  // that result, what is made of it, and a gradient
  return costs;
}

}  // namespace

ExpertCosts expert_costs(const ExpertPreset& preset, const ExpertShape& part, const MoeConfig& config) {
  const std::vector<ExpertWeight> weights = preset.weights(part, config);
  ExpertCosts costs = preset.costs != nullptr ? preset.costs(part, config) : costs_by_autograd(weights);
  costs.parameters = 0;
  for (const ExpertWeight& weight : weights) costs.parameters += elements(weight);
  return costs;
}

}  // namespace moetrain
