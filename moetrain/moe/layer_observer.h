// Who sees what layers compute with. defines: LayerObserver, ObservedFeedForward, ObservedExperts
#pragma once
#include <functional>
#include <vector>

#include "moetrain/routers/routing.h"

namespace moetrain {

// T rows of this rank, D their width, F hidden units, E routed experts, R copies of rows sorted by expert

/// A dense feed-forward, or the shared expert beside the routed ones.
struct ObservedFeedForward {
  int64_t layer = 0;  // number of the block
  bool shared = false;
  at::Tensor input_TD = {};
  at::Tensor hidden_TF = {};  // what its last matrix multiplies
};

/// Routed experts, in the place of a feed-forward or of an attention.
struct ObservedExperts {
  int64_t layer = 0;  // number of the block
  Slot slot = Slot::kFeedForward;
  Rows rows = Rows::kTokens;  // whose rows the decision's are
  const RoutingDecision& decision;
  int64_t routed = 0;        // E, those that are dispatched; the decision counts those of all kinds
  int64_t computing = 0;     // those of all kinds that may give more than 0, the first so many
  at::Tensor input_TD = {};  // what is copied to experts; undefined where that is no row of a token (sequences, slots)
  std::vector<int64_t> hidden_units = {};  // of each routed expert; 0: of a kind that has none to show
  /// rows sorted by expert, so many of each -> their hidden units, [R, largest of hidden_units], zeros behind those of
  /// narrower experts.
  std::function<at::Tensor(const at::Tensor& rows_RD, const std::vector<int64_t>& rows_per_expert)> hidden = {};
  /// In place of `hidden`, where they are there for each choice: of an attention's modules what their queries saw.
  at::Tensor hidden_TKF = {};
};

/// Is told of every feed-forward, MoeLayer and AttentionModules of a pass, in evaluation (PassScope::observer), on
/// ranks that hold the model whole.
class LayerObserver {
 public:
  virtual ~LayerObserver() = default;
  virtual void see(const ObservedFeedForward& layer) = 0;
  virtual void see(const ObservedExperts& layer) = 0;
};

}  // namespace moetrain
