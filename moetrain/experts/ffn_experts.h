// defines: FfnExperts: E feed-forwards as grouped matrix multiplications
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/layers/feed_forward.h"
#include "parallel/dispatch/expert_pipeline.h"

namespace moetrain {

/// The experts' weights, [E, D, F] and [E, F, D], and what computes with them. swiglu: gate, up, down; gelu and relu:
/// up, down (the same formulae as FeedForward). No bias.
class FfnExperts : public torch::nn::Module {
 public:
  struct Shape {
    int64_t experts = 0;
    FeedForward::Shape expert;
  };
  /// The experts of this rank in the source's mesh, and its part of their hidden units: [E', D, F'] and [E', F', D].
  /// UserError where they cannot be laid out.
  FfnExperts(const ParameterSource& source, const Shape& shape, double std, double output_std);

  /// out[t] = sum over the token's choices of weight * expert(token). [T, D] -> [T, D]
  /// Collective over Mesh::experts().
  at::Tensor forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const;
  int64_t parameters_of_expert() const { return parameters_of_expert_; }

  /// What forward passes to expert_pipeline: for a profile.
  const parallel::ExpertGroup& group() const { return group_; }
  const std::vector<at::Tensor>& weights() const { return weights_; }
  const parallel::ExpertCompute& compute() const { return *compute_; }

 private:
  parallel::ExpertGroup group_;
  std::vector<at::Tensor> weights_;
  std::shared_ptr<const parallel::ExpertCompute> compute_;
  int64_t parameters_of_expert_ = 0;
};

}  // namespace moetrain
