// defines: RoutingDecision, RoutingChoices, RoutingContext, choices_of, differentiable: what goes into a routing and
// what comes out
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "moetrain/layers/batch_scope.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {

// T tokens of this rank, E experts of all kinds, K choices per token, D model width

/// What the experts compute instead of on tokens, where a router mixes whole sequences into slots (soft).
struct SlotMix {
  at::Tensor rows_RD;               // the slots that this rank computes
  parallel::Assignment assignment;  // one expert for each row, of weight 1
  /// The experts' outputs of the rows -> this rank's tokens [T, D]. Collective.
  std::function<at::Tensor(const at::Tensor& out_RD)> combine;
};

/// What a router decided for this rank's tokens, and what losses and metrics read.
struct RoutingDecision {
  at::Tensor logits_TE;         // at least float32; carries gradient where the router learns
  at::Tensor probabilities_TE;  // rows sum to 1: the softmax of the logits, or their sigmoids over the row's sum
  at::Tensor chosen_TK;         // int64, before any drop; kDropped where a token takes fewer than K
  at::Tensor gate_TK;           // the combine weights if nothing were dropped; at least float32, with gradient
  at::Tensor clean_logits_TE;   // the logits without noise and the noise's scale;
  at::Tensor noise_scale_TE;    // undefined unless the router adds noise of a learned scale, and trains
  parallel::Assignment assignment;
  at::Tensor global_choices_E;  // int64: choices of each expert over the global micro-batch, before any drop
  at::Tensor global_first_E;    // int64: first choices, likewise
  int64_t dropped = 0;          // choices of this rank's tokens that the capacity rule dropped; where experts choose in
                                // training (expert_choice), tokens that none took
  std::optional<SlotMix> slots;  // where there are some, `assignment` is only what metrics read
};

/// The part of a decision that is selected and counted, in whole numbers: with it a router gives the same decision
/// again, gradients and all, and neither selects nor communicates to select.
struct RoutingChoices {
  at::Tensor chosen_TK, expert_TK;              // before and after drops; see RoutingDecision
  at::Tensor global_choices_E, global_first_E;  // likewise
  int64_t dropped = 0;
  std::optional<int64_t> kept = {};  // Assignment's
};

RoutingChoices choices_of(const RoutingDecision& decision);

/// The tensors of a decision that may carry gradient; some may be undefined.
std::vector<at::Tensor*> differentiable(RoutingDecision& decision);

/// Side information of a routing; grows with the routers that need more.
struct RoutingContext {
  const BatchScope& scope;
  int64_t layer = 0;                   // its number (LayerSite), part of the key of every draw
  at::Tensor previous_logits_TE = {};  // of these tokens in the MoE layer before; undefined in the first
  /// Choices for these tokens that are taken as they are; null: the router selects. A router of slots has none to take.
  const RoutingChoices* injected = nullptr;
};

}  // namespace moetrain
