// defines: MoeLayer, MoeOutput: router -> experts, plus the always-on branch
#pragma once
#include <memory>

#include "moetrain/experts/ffn_experts.h"
#include "moetrain/experts/local_experts.h"
#include "moetrain/layers/feed_forward.h"
#include "moetrain/losses/loss_terms.h"
#include "moetrain/routers/router.h"

namespace moetrain {

struct MoeOutput {
  at::Tensor out_TD;
  RoutingDecision decision;
  LossTerms losses;  // of the router: this rank's shares for one micro-batch
};

/// out = sum of weighted experts + shared expert, the latter scaled by sigmoid(x w) where it is gated (Qwen2-MoE).
/// Only FFN experts are dispatched; choices of other kinds are computed where the token is. Forward has no side
/// effects.
class MoeLayer : public torch::nn::Module {
 public:
  struct Shape {
    int64_t width = 0;
    Activation activation = Activation::kSwiglu;
    double std = 0.02;
    double output_std = 0.02;
    int64_t layer = 0;  // number of the block
  };
  MoeLayer(const ParameterSource& source, const MoeConfig& config, const Shape& shape,
           const parallel::NameTable<RouterPreset>& routers);

  /// [T, D] -> [T, D]; T may be 0. Collective over the scope's group.
  MoeOutput forward(const at::Tensor& tokens_TD, const BatchScope& scope);

 private:
  /// The router's choices of all kinds, weighted and summed.
  at::Tensor routed(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const;

  MoeConfig config_;
  int64_t layer_;
  std::shared_ptr<Router> router_;
  std::shared_ptr<FfnExperts> experts_;
  std::shared_ptr<LocalExperts> local_;  // null where no kind but FFN gives more than 0
  std::shared_ptr<FeedForward> shared_;  // null where there is none
  std::shared_ptr<Linear> shared_gate_;  // null where it is not gated
};

}  // namespace moetrain
