// DeepSeek-V2's router (DeepSeek-AI 2024, section 2.2.2): the most probable experts of the best groups.
#include <ATen/ATen.h>

#include "moetrain/routers/composed_router.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// The K most probable experts of the groups whose own best are the most probable.
at::Tensor select_of_best_groups(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  const auto& [groups, top_groups] = config.own<GroupedTopKConfig>();
  return largest_k(of_open_groups(by_ratio(candidates.probabilities_TE), {groups, top_groups, /*judged_by=*/1}),
                   config.top_k);
}

std::shared_ptr<Router> make_grouped(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({.scores = linear_scores(input),
                         .squash = softmax_squash,
                         .selection = select_of_best_groups,
                         .chooses_all = true},
                        input);
}

void check_grouped(const MoeConfig& config) {
  const auto& [groups, top_groups] = config.own<GroupedTopKConfig>();
  check_groups(config, "moe.grouped_top_k", {groups, top_groups});
}

}  // namespace

RouterPreset grouped_top_k_router() {
  return {.make = make_grouped,
          .demands = {.gates = {Gate::kRaw, Gate::kSum1}, .biased_scores = true},
          .keys = parallel::own_keys_of<GroupedTopKConfig>,
          .check = check_grouped};
}

}  // namespace moetrain
