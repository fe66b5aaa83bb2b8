// defines: MoeLayer, MoeOutput: router -> experts, plus the always-on branch
#pragma once
#include "moetrain/experts/dispatched_experts.h"
#include "moetrain/experts/local_experts.h"
#include "moetrain/experts/shared_weights.h"
#include "moetrain/layers/feed_forward.h"
#include "moetrain/layers/sequence_rows.h"
#include "moetrain/moe/residual_mix.h"
#include "moetrain/moe/routed_layer.h"

namespace moetrain {

struct MoeOutput {
  at::Tensor out_TD;
  RoutingDecision decision;
  LossTerms losses;  // of the router: this rank's shares for one micro-batch
};

/// out = sum of weighted experts + shared expert, the latter scaled by sigmoid(x w) where it is gated (Qwen2-MoE), or
/// both mixed by a learned softmax (shared_combine = residual, ResidualMix).
/// Only experts of the kind moe.expert are dispatched; choices of other kinds are computed where the token is. With a
/// latent width L (LatentMoE, Elango et al. 2026) their sum is W_up sum of weighted experts(W_down x), so that rows of
/// width L are dispatched; router, shared expert and other kinds see x itself. With rows = sequences the router sees
/// one vector of each sequence, its decision has a row for each sequence that this rank computes, and kinds that ask
/// for it see sequences whole. Forward has no side effects.
class MoeLayer : public RoutedLayer {
 public:
  struct Shape {
    int64_t width = 0;
    Activation activation = Activation::kSwiglu;
    double std = 0.02;
    double output_std = 0.02;
    int64_t layer = 0;             // number of the block
    int64_t previous_experts = 0;  // routed experts of all kinds in the MoE layer before; 0: this is the first
    bool causal = true;            // of a decoder block: no token may see later ones
    bool bias = false;             // of the shared expert's matrices
  };
  MoeLayer(const ParameterSource& source, const MoeConfig& config, const Shape& shape, const MoeTables& tables);

  /// [T, D] -> [T, D]; T may be 0. previous_logits_TE: the decision's logits_TE of the MoE layer before, which a gating
  /// residual needs; undefined in the first. Collective over the scope's group.
  MoeOutput forward(const at::Tensor& tokens_TD, const BatchScope& scope, const at::Tensor& previous_logits_TE = {});

  /// The first half of forward, router and experts, before its losses are taken; with `injected` choices where there
  /// are any (RoutingContext). Collective over the scope's group.
  MixedTokens mix(const at::Tensor& tokens_TD, const BatchScope& scope, const at::Tensor& previous_logits_TE,
                  const RoutingChoices* injected) const;

 private:
  const ExpertWeights& experts() const override { return *experts_; }
  void add_experts(const ParameterSource& source, const Shape& shape, const MoeTables& tables);
  void add_shared(const ParameterSource& source, const Shape& shape);
  MixedTokens mix_sequences(const at::Tensor& tokens_TD, const BatchScope& scope, const at::Tensor& previous_logits_RE,
                            const RoutingChoices* injected) const;
  /// The router's choices of all kinds, weighted and summed. `rows`: where those are of whole sequences, of which
  /// these are the tokens; else null.
  at::Tensor routed(const at::Tensor& tokens_TD, const parallel::Assignment& assignment, const SequenceRows* rows,
                    const AdapterDraws& draws) const;
  at::Tensor with_shared(const at::Tensor& tokens_TD, const at::Tensor& routed_TD, const AdapterDraws& draws) const;
  /// Tells the scope's observer, where there is one. `dispatched`: whether the rows that travel are those tokens.
  void show(const at::Tensor& tokens_TD, const RoutingDecision& decision, bool dispatched,
            const BatchScope& scope) const;

  std::shared_ptr<Linear> latent_down_, latent_up_;  // null where experts work in the model's width
  std::shared_ptr<DispatchedExperts> experts_;
  std::optional<SharedWeights> shared_weights_;  // none where each expert has its own
  std::shared_ptr<LocalExperts> local_;          // null where no kind of them gives more than 0
  std::shared_ptr<FeedForward> shared_;          // null where there is none
  std::shared_ptr<Linear> shared_gate_;          // null where it is not gated
  std::shared_ptr<ResidualMix> residual_mix_;    // null where it is added
};

}  // namespace moetrain
