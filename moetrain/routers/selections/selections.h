// defines: Selection, GroupLimit, of_open_groups, check_groups, SigmoidBiasConfig, GroupedTopKConfig, SinkhornConfig,
// ThorConfig and the selections: which experts a token takes, given what the scores say
#pragma once
#include <array>

#include "moetrain/config/moe_config.h"
#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/routing.h"

namespace moetrain {

/// The scores, without gradient.
struct Candidates {
  at::Tensor logits_TE;
  at::Tensor probabilities_TE;
  at::Tensor score_TE;  // what gates are made of
  at::Tensor bias_E;    // to be added to the scores for the choice alone; undefined: none
};

/// int64 [T, K], distinct in a row; K is config.top_k unless said otherwise. kDropped, behind a row's experts, where a
/// token takes fewer than K: no choice, and no dropped one either.
using Selection = at::Tensor (*)(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// The K largest probabilities, largest first.
at::Tensor select_largest(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// The K largest of score + bias among the open groups (DeepSeek-V3, eq. 16 and section 2.1.2; DeepSeek-AI 2024): the
/// experts stand in `groups` groups of consecutive numbers, a group's score is the sum of its 2 largest biased
/// scores (the paper takes the K / top_groups largest; 2 is what its code and its 8 of 4 groups come to), and the best
/// `top_groups` groups are open; ties go to the smaller number. Keys: SigmoidBiasConfig.
at::Tensor select_in_groups(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

struct SigmoidBiasConfig {
  int64_t groups = 1;
  int64_t top_groups = 1;
  double bias_rate = 0.001;
};

template <class Visitor>
void visit(SigmoidBiasConfig& config, Visitor& field) {
  field("groups", config.groups, parallel::between(1, 1 << 16), "groups of experts; 1: no groups");
  field("top_groups", config.top_groups, parallel::between(1, 1 << 16),
        "only the best so many groups of experts are open to a token");
  field("bias_rate", config.bias_rate, parallel::at_least(0),
        "what an update adds to the selection's bias of an underloaded expert");
}

/// Of the router "grouped_top_k".
struct GroupedTopKConfig {
  int64_t groups = 1;
  int64_t top_groups = 1;
};

template <class Visitor>
void visit(GroupedTopKConfig& config, Visitor& field) {
  field("groups", config.groups, parallel::between(1, 1 << 16), "groups of experts; 1: no groups");
  field("top_groups", config.top_groups, parallel::between(1, 1 << 16),
        "only the so many groups with the most probable experts are open to a token");
}

/// Groups of experts with consecutive numbers, of which a token's best are open.
struct GroupLimit {
  int64_t groups = 1, top_groups = 1;
  int64_t judged_by = 1;  // the sum of a group's so many largest numbers
};
/// Minus infinity in the groups that are not open; ties go to the smaller number.
Graded of_open_groups(const Graded& graded, const GroupLimit& limit);
/// UserError naming the keys of [table]: groups that do not divide the experts, or too few or too many of them open.
void check_groups(const MoeConfig& config, const std::string& table, const GroupLimit& limit);
void check_sigmoid_bias(const MoeConfig& config);

/// In training K = E, every expert for every token, of which the capacity rule with drop = probability leaves each
/// expert its C = ceil(factor * N * top_k / E) most probable tokens of the global micro-batch: expert choice
/// (Zhou et al. 2022). In evaluation and decoding, as there is no published rule, the K largest probabilities of each
/// token, because the experts' choice would depend on other tokens, also later ones (inferred).
at::Tensor select_all(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// In training the K largest of the balanced matrix: exp(logits) under alternating normalisation of its rows to 1 / N
/// and its columns to 1 / E over the N tokens of the global micro-batch (Sinkhorn; balanced assignment as S-BASE,
/// Clark et al. 2022, and Megatron-Core; the stopping rule is ours: no column's scale changes by more than
/// `tolerance` of itself, or `iterations`). Keys: SinkhornConfig. Column sums are all-reduced, so all ranks stop
/// together. In evaluation and decoding the K largest logits. Collective.
at::Tensor select_sinkhorn(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

struct SinkhornConfig {
  int64_t iterations = 100;
  double tolerance = 1e-4;
};

template <class Visitor>
void visit(SinkhornConfig& config, Visitor& field) {
  field("iterations", config.iterations, parallel::between(1, 1 << 20),
        "at most so many normalisations of rows and columns");
  field("tolerance", config.tolerance, parallel::at_least(0),
        "it ends where no column's scale changes by more than this part; 0: all iterations");
}

/// K = 2: the largest probability, then in training one of the others, drawn in proportion to its gate by the
/// Gumbel-max rule (GShard, Lepikhin et al. 2021, as DeepSpeed's top-2 gating draws it; the paper instead takes the
/// second largest with a chance in proportion to its gate). In evaluation the two largest.
at::Tensor select_first_and_drawn(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// K = 1: an expert drawn uniformly, whatever the scores (THOR, Zuo et al. 2022). ThorConfig::granularity says for what
/// each draw holds: batch_layer, the whole micro-batch in a layer (the paper's training); sentence; token; slices: the
/// sequences of the global micro-batch are dealt in turn into E slices, and a permutation of experts for each layer
/// and step gives each slice its expert, so that every expert has about 1/E of the work and each sequence still sees a
/// uniform draw (inferred: not in the paper, whose one draw would send all tokens to one rank). Imbalance: windows of a
/// language model are equally long, so slices differ by one window at most; a micro-batch of pairs comes sorted by
/// length, so they differ by about the longest sentence at most.
/// In evaluation ThorConfig::inference: sentence, token, or ensemble: K = E, every expert.
at::Tensor select_stochastic(const Candidates& candidates, const MoeConfig& config, const RoutingContext& context);

/// What shares one drawn expert in training, and in evaluation.
enum class ThorGranularity { kSlices, kBatchLayer, kSentence, kToken };
constexpr std::array<const char*, 4> names_of(ThorGranularity) {
  return {"slices", "batch_layer", "sentence", "token"};
}
enum class ThorInference { kSentence, kToken, kEnsemble };
constexpr std::array<const char*, 3> names_of(ThorInference) { return {"sentence", "token", "ensemble"}; }

struct ThorConfig {
  parallel::Enum<ThorGranularity> granularity = ThorGranularity::kSlices;
  parallel::Enum<ThorInference> inference = ThorInference::kSentence;
};

template <class Visitor>
void visit(ThorConfig& config, Visitor& field) {
  field("granularity", config.granularity, parallel::anything(), "in training: what shares one drawn expert");
  field("inference", config.inference, parallel::anything(),
        "in evaluation: what shares one drawn expert; ensemble: the mean of all experts");
}

}  // namespace moetrain
