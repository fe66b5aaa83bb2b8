// defines: FeedForward, FeedForwardCosts: the dense feed-forward of a block, and a shared expert
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/config/layer_kinds.h"
#include "moetrain/layers/linear.h"
#include "parallel/autograd/token_parts.h"

namespace moetrain {

/// What FeedForward asks of planning.
struct FeedForwardCosts {
  int64_t matrices = 0;      // width x hidden, each multiplied once forward
  int64_t kept_hiddens = 0;  // tensors [T, hidden] that it keeps for backward
};
FeedForwardCosts feed_forward_costs(Activation activation);

/// swiglu (Shazeer 2020): down(silu(gate(x)) * up(x)); gelu: down(gelu(up(x))), the exact gelu; relu (Vaswani et al.
/// 2017, without their biases): down(relu(up(x))).
class FeedForward : public torch::nn::Module {
 public:
  struct Shape {
    int64_t width = 0;
    int64_t hidden = 0;
    Activation activation = Activation::kSwiglu;
    bool bias = false;    // of each matrix
    bool spread = false;  // over the ranks of the tensor group, each with an even part of the hidden units
  };
  FeedForward(const ParameterSource& source, const Shape& shape, double std, double output_std);
  /// [T, width] -> [T, width]. Where hidden units are spread, `parts` are the tensor group's tokens. Collective over it
  /// then.
  at::Tensor forward(const at::Tensor& input_TD, const parallel::TokenParts& parts = {},
                     const AdapterDraws& draws = {}) const;
  /// What `down` multiplies, of this rank's hidden units: [T, width] -> [T, hidden]
  at::Tensor hidden(const at::Tensor& input_TD, const AdapterDraws& draws = {}) const;
  bool whole() const { return ranks_ == 1; }

 private:
  Activation activation_;
  int64_t ranks_;                             // that share the hidden units
  std::shared_ptr<Linear> gate_, up_, down_;  // gate_ is null but for swiglu
};

}  // namespace moetrain
