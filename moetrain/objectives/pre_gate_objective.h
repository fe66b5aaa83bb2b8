// defines: PreGateObjectiveConfig, visit, expert_scores, pre_gate_losses
#pragma once
#include <string>

#include "moetrain/objectives/objective.h"

namespace moetrain {

/// pre_gate: cross-entropy, and what teaches the router at the model's entrance by a frozen dense model (Read-ME, Cai
/// et al. 2024), logged as "pre_gate". Experts are scored for each token in each layer by expert_scores, from which the
/// mean over the micro-batch is taken away; the router learns the best one and the softmax over all, summed over
/// layers. The cross-entropy does not reach it where moe.gate = "hard", nor does this reach anything else: what is
/// trained of both is train.frozen's to say.
struct PreGateObjectiveConfig {
  std::string teacher;
  parallel::Weight weight = 1.0;
  double hard = 0.75;
  double smoothing = 0.5;
  double sharpness = 10;
};

template <class Visitor>
void visit(PreGateObjectiveConfig& config, Visitor& field) {
  using namespace parallel;
  field("teacher", config.teacher, anything(), "run folder of the dense model that the experts were selected from");
  field("weight", config.weight, at_least(0), "of the router's loss");
  field("hard", config.hard, between(0, 1),
        "its part that is the cross-entropy with the best expert; the rest is that with the softmax of the scores");
  field("smoothing", config.smoothing, half_open(0, 1), "share of the best expert's target spread over all");
  field("sharpness", config.sharpness, above(0), "the scores times this");
}

// G tokens, E experts, F hidden units

/// How much of what a token makes fire most belongs to each expert: hidden [G, F] of a dense feed-forward, private 0 or
/// 1 [E, F] -> [G, E], in private's type. With m units of an expert, those among a token's m largest (signed) count
/// once, those among the largest 4 m / 5 twice, and so on in fifths, each 1 / (3 m): of all units together 1.
at::Tensor expert_scores(const at::Tensor& hidden_GF, const at::Tensor& private_EF);

/// Of each token: config.hard times the smoothed cross-entropy with the best-scored expert, and the rest of that with
/// the softmax of the scores. [T, E], [T, E] -> [T]
at::Tensor pre_gate_losses(const at::Tensor& logits_TE, const at::Tensor& score_TE,
                           const PreGateObjectiveConfig& config);

}  // namespace moetrain
