// defines: Selection and the selections: which experts a token takes, given what the scores say
#pragma once
#include "moetrain/moe/moe_config.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

/// The scores, without gradient.
struct Candidates {
  at::Tensor logits_TE;
  at::Tensor probabilities_TE;
};

/// int64 [T, K], distinct in a row; K is config.top_k unless said otherwise.
using Selection = at::Tensor (*)(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// The K largest probabilities, largest first.
at::Tensor select_largest(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// K = 2: the largest probability, then in training one of the others, drawn in proportion to its gate by the
/// Gumbel-max rule (GShard, Lepikhin et al. 2021, as DeepSpeed's top-2 gating draws it; the paper instead takes the
/// second largest with a chance in proportion to its gate). In evaluation the two largest.
at::Tensor select_first_and_drawn(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// K = 1: an expert drawn uniformly, whatever the scores (THOR, Zuo et al. 2022). config.stochastic says for what each
/// draw holds: batch_layer, the whole micro-batch in a layer (the paper's training); sentence; token; slices: the
/// sequences of the global micro-batch are dealt in turn into E slices, and a permutation of experts for each layer
/// and step gives each slice its expert, so that every expert has about 1/E of the work and each sequence still sees a
/// uniform draw (inferred: not in the paper, whose one draw would send all tokens to one rank).
/// In evaluation config.stochastic_inference: sentence, token, or ensemble: K = E, every expert.
at::Tensor select_stochastic(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

}  // namespace moetrain
