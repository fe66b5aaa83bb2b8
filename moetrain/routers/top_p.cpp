// A dynamic router: a token takes as many experts as it needs.
#include <ATen/ATen.h>

#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/composed_router.h"
#include "parallel/base/fault.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {
namespace {

struct TopPConfig {
  double mass = 0.4;
};

template <class Visitor>
void visit(TopPConfig& config, Visitor& field) {
  field("mass", config.mass, parallel::Legal{.low = 0, .high = 1, .low_is_legal = false, .names = {}},
        "a token takes its most probable experts until together they have this probability, at most moe.top_k; Huang: "
        "0.4");
}

/// Expert j of a token's largest ones is taken where those before it have less than `mass` (Huang et al. 2024, "Harder
/// tasks need more experts", eq. 5, there without a largest number). A sum that is mathematically equal to `mass` has
/// reached it, however it was rounded.
at::Tensor select_mass(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  const at::Tensor& probabilities_TE = candidates.probabilities_TE;
  const at::Tensor chosen_TK = largest_k(by_ratio(probabilities_TE), config.top_k);
  const at::Tensor probability_TK = probabilities_TE.gather(1, chosen_TK);
  const at::Tensor before_TK = probability_TK.cumsum(1) - probability_TK;
  const double enough = config.own<TopPConfig>().mass * (1 - tie_bound(probabilities_TE.scalar_type()));
  at::Tensor beyond_TK = before_TK >= enough;
  beyond_TK.select(1, 0).fill_(false);  // one expert, however small the mass
  return chosen_TK.masked_fill(beyond_TK, parallel::Assignment::kDropped);
}

std::shared_ptr<Router> make_top_p(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({linear_scores(input), softmax_squash, select_mass}, input);
}

void check_top_p(const MoeConfig& config) {
  if (config.top_k > 1) return;
  parallel::user_error(
      "moe.top_k = 1 with moe.router = \"top_p\" leaves nothing to decide: every token takes one expert; ",
      "nearest legal: top_k = 2, or router = \"switch\"");
}

}  // namespace

RouterPreset top_p_router() {
  return {.make = make_top_p,
          .demands = {.gates = {Gate::kRaw, Gate::kSum1, Gate::kSum1Kept, Gate::kTrue1}},
          .keys = parallel::own_keys_of<TopPConfig>,
          .check = check_top_p};
}

}  // namespace moetrain
