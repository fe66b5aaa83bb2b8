// One micro-batch as the busiest rank of a layout sees it: the sizes that memory, traffic and time are made of.
// defines: PlannedBlock, PlannedExperts, PlannedPreGate, TokenCount, Workload, workload_of, most_experts, choice_share
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"
#include "moetrain/config/expert_kinds.h"
#include "moetrain/experts/expert.h"
#include "moetrain/layers/feed_forward.h"
#include "moetrain/models/models.h"
#include "moetrain/objectives/objective.h"
#include "moetrain/routers/scores/pre_gate.h"
#include "parallel/mesh/mesh_shape.h"

namespace launch {

/// A layer of experts.
struct PlannedExperts {
  moetrain::MoeConfig moe;
  moetrain::ExpertKinds kinds;
  int64_t row_width = 0, out_width = 0;  // of the rows that travel to experts, and of what comes back
  /// How often rows do in forward: twice to an attention's modules, the second time with widths exchanged.
  int64_t calls = 1;
  moetrain::ExpertCosts expert;  // of one call of one of them, on one rank; of unequal ones the mean where most is
                                 // multiplied
  int64_t widths_of_calls() const { return calls * (row_width + out_width) / 2; }
};

/// A transformer block.
struct PlannedBlock {
  int64_t number = 0;
  moetrain::Side side = moetrain::Side::kTokens;
  bool causal = true, attention = true, cross = false;
  std::string parameters;  // how their names begin, such as "blocks.3."
  std::string of_stack;    // likewise, of what all blocks of a stack share, which backward is through with at its first
  std::optional<PlannedExperts> modules = {};  // in place of its attention,
  std::optional<PlannedExperts> experts = {};  // and of its feed-forward

  /// In the order of forward.
  std::vector<const PlannedExperts*> layers() const {
    std::vector<const PlannedExperts*> all;
    if (modules) all.push_back(&*modules);
    if (experts) all.push_back(&*experts);
    return all;
  }
};

/// Tokens of one side in a micro-batch.
struct TokenCount {
  int64_t world = 0;      // of all ranks
  int64_t group = 0;      // of the tensor group with most
  int64_t own = 0;        // of the rank with most
  int64_t length = 0;     // of a sequence
  int64_t sequences = 0;  // of all ranks
};

/// The one router at a model's entrance, whole on every rank.
struct PlannedPreGate {
  moetrain::PreGateConfig config;
  int64_t experts = 0;
};

struct Workload {
  parallel::MeshShape mesh;
  int64_t element = 4, wide = 4;  // bytes of a number, and of one that is summed
  int64_t micro_batches = 1;
  moetrain::ObjectiveCosts objective;
  moetrain::ModelEnds ends;
  int64_t passes = 1;  // the objective's, over a micro-batch
  int64_t vocabulary = 0, own_vocabulary = 0;
  TokenCount tokens, source;  // the source's are 0 without an encoder
  std::optional<PlannedPreGate> pre_gate = {};
  std::vector<PlannedBlock> blocks;

  moetrain::FeedForwardCosts feed_forward;  // of a dense or shared one

  const TokenCount& side(const PlannedBlock& block) const {
    return block.side == moetrain::Side::kSource ? source : tokens;
  }
  int64_t targets() const;    // of the tensor group with most
  int64_t predicted() const;  // numbers of one, on this rank
  /// What a layer of experts routes: its side's tokens, or each of its sequences as one.
  TokenCount routed(const PlannedBlock& block, const PlannedExperts& layer) const;
  int64_t expert_layers() const;
  /// Ways of rows to experts and back in forward: what the schedule counts.
  int64_t expert_calls() const;
};

/// Of a translator, whose batches are counted in tokens, half of them are taken to be source, and sentences to be half
/// as long as the longest.
Workload workload_of(const Recipe& recipe, int64_t vocabulary, int64_t ranks);

/// Rows that a rank's experts get where tokens choose evenly, as a share of a layer's: largest over the expert axis.
double most_experts(const Recipe& recipe, const PlannedExperts& layer);

/// Choices that are dispatched to feed-forward experts where tokens choose evenly among experts of all kinds, as a
/// share of all.
double choice_share(const PlannedExperts& layer);

}  // namespace launch
