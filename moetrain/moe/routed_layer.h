// defines: RoutedLayer, MixedTokens, RoutedOutput, LayerSite, ParameterCount: a router, and experts that it chooses
// among
#pragma once
#include <memory>
#include <optional>

#include "moetrain/experts/expert_weights.h"
#include "moetrain/moe/moe_tables.h"
#include "parallel/phases/phase.h"

namespace moetrain {

/// What a layer, or a part of one, made of its tokens; of one that routes nothing without a decision.
struct MixedTokens {
  at::Tensor out_TD;
  std::optional<RoutingDecision> decision;
};

/// A decision, and the router's losses of it.
struct RoutedOutput {
  RoutingDecision decision;
  LossTerms losses;  // this rank's shares for one micro-batch
};

struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;   // used by one token: top_k of a layer's dispatched experts, everything else whole
  int64_t trained = 0;  // that have a gradient
};

/// Of a whole model, whatever of it lies on this rank.
ParameterCount parameter_count(const torch::nn::Module& model, const PlacementTable& placements);

/// Where a layer of experts stands.
struct LayerSite {
  int64_t block = 0;  // its number in the model
  Slot slot = Slot::kFeedForward;
  int64_t blocks = 0;  // of the whole model

  /// Unlike that of any other: the block's, and behind all of them those of attentions. Part of the key of every draw.
  int64_t number() const { return slot == Slot::kFeedForward ? block : blocks + block; }
};

/// Has the router under the name "router", which its parameters begin with.
class RoutedLayer : public torch::nn::Module {
 public:
  struct Shape {
    LayerSite site;
    int64_t width = 0;             // of the model
    double std = 0.02;             // of initial weights
    int64_t previous_experts = 0;  // routed experts of all kinds in the MoE layer before; 0: this is the first
    bool causal = true;            // of a decoder block: no token may see later ones
  };

  /// Of such a decision, none in evaluation. Collective over the scope's group.
  LossTerms losses(const RoutingDecision& decision, const BatchScope& scope) const;
  /// What the router learns without gradient; see Router::after_update.
  void after_update(const at::Tensor& global_choices_E) { router_->after_update(global_choices_E); }

  /// Of the dispatched experts that one token does not visit, on all ranks; of unequal ones the mean.
  int64_t idle_parameters() const;
  /// Of all dispatched experts' parameters those that so many tokens leave unread, where routing is even: each of E
  /// sets of weights is left out by a token with a probability of 1 - K / E.
  double unread_parameters(int64_t tokens) const;
  const LayerSite& site() const { return site_; }
  /// Whether in evaluation a token's experts, and what they make of it, depend on that token alone: no draw, no bound
  /// on how many tokens choose an expert, no mixtures of tokens.
  bool each_token_alone() const { return each_token_alone_; }
  Rows rows() const { return config_.rows; }

 protected:
  RoutedLayer(const ParameterSource& source, const MoeConfig& config, const Shape& shape, const MoeTables& tables);
  virtual const ExpertWeights& experts() const = 0;
  /// What its router thinks of such rows; with `injected` choices where there are any (RoutingContext).
  RoutingDecision route(const at::Tensor& rows_TD, const BatchScope& scope, const at::Tensor& previous_logits_TE,
                        const RoutingChoices* injected) const {
    const parallel::Phase phase(parallel::PhaseName::kRoute);
    return router_->forward(
        rows_TD,
        {.scope = scope, .layer = site_.number(), .previous_logits_TE = previous_logits_TE, .injected = injected});
  }

  MoeConfig config_;

 private:
  LayerSite site_;
  bool each_token_alone_;
  std::vector<ChosenLoss> losses_;
  std::shared_ptr<Router> router_;
};

}  // namespace moetrain
