// ModuleFormer's router (Shen et al. 2023): two layers, and in training some of a token's experts drawn.
#include <ATen/ATen.h>

#include <limits>

#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/composed_router.h"
#include "moetrain/routers/draws.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

struct ModuleFormerConfig {
  int64_t hidden = 256;
  int64_t drawn = 1;
};

template <class Visitor>
void visit(ModuleFormerConfig& config, Visitor& field) {
  field("hidden", config.hidden, parallel::between(1, 1 << 20), "its hidden width");
  field(
      "drawn", config.drawn, parallel::between(1, 1 << 10),
      "in training so many of a token's moe.top_k experts are drawn by their probabilities, without replacement, among "
      "those that are not the largest; without any: router = \"mlp\" with activation = \"gelu\"");
}

/// The K - drawn most probable, then without replacement by probability: the largest of logit + Gumbel noise, which is
/// the same (Kool et al. 2019). In evaluation the K most probable.
at::Tensor select_largest_and_drawn(const Candidates& candidates, const MoeConfig& config,
                                    const RoutingContext& context) {
  const BatchScope& scope = context.scope;
  const Graded by_probability = by_ratio(candidates.probabilities_TE);
  if (!scope.training) return largest_k(by_probability, config.top_k);
  const int64_t drawn = config.own<ModuleFormerConfig>().drawn;
  const at::Tensor& logits_TE = candidates.logits_TE;
  const parallel::RandomStream stream = scope.draws.stream("drawn choices", context.layer);
  const at::Tensor uniform_TE = uniform_draws(stream, scope.first_token * logits_TE.size(1), logits_TE.sizes(),
                                              logits_TE.options().dtype(at::kDouble));
  at::Tensor perturbed_TE = logits_TE.to(at::kDouble) - uniform_TE.log().neg().log();
  std::vector<at::Tensor> chosen;
  if (drawn < config.top_k) {
    chosen.push_back(largest_k(by_probability, config.top_k - drawn));
    perturbed_TE = perturbed_TE.scatter(1, chosen.front(), -std::numeric_limits<double>::infinity());
  }
  chosen.push_back(largest_k(by_difference(perturbed_TE, logits_TE.scalar_type()), drawn));
  return at::cat(chosen, 1);
}

std::shared_ptr<Router> make_moduleformer(const ParameterSource& source, const MoeConfig& config,
                                          const RouterShape& shape) {
  MoeConfig scored = config;
  scored.own<MlpConfig>() = {.hidden = config.own<ModuleFormerConfig>().hidden, .activation = MlpActivation::kGelu};
  return compose_router({.scores = mlp_scores({source, scored, shape}),
                         .squash = softmax_squash,
                         .selection = select_largest_and_drawn,
                         .chooses_all = true},
                        {source, config, shape});
}

void check_moduleformer(const MoeConfig& config) {
  const int64_t drawn = config.own<ModuleFormerConfig>().drawn;
  if (drawn <= config.top_k) return;
  parallel::user_error("moe.moduleformer.drawn (", drawn, ") is more than moe.top_k (", config.top_k,
                       "); nearest legal: drawn = ", config.top_k);
}

}  // namespace

RouterPreset moduleformer_router() {
  return {.make = make_moduleformer,
          .demands = {.gates = {Gate::kRaw, Gate::kSum1, Gate::kSum1Kept, Gate::kTrue1}, .draws = true},
          .keys = parallel::own_keys_of<ModuleFormerConfig>,
          .check = check_moduleformer};
}

}  // namespace moetrain
