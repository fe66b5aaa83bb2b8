// dispatch -> experts -> combine as the one differentiable unit of an MoE layer.
// defines: ExpertCompute, expert_pipeline
#pragma once
#include <memory>
#include <vector>

#include "parallel/dispatch/expert_exchange.h"

namespace parallel {

/// What an expert kind computes on rows sorted by expert, raw (outside autograd), with this rank's experts and its part
/// of their hidden units: outputs and row gradients are summands of those of all ranks that share an expert.
class ExpertCompute {
 public:
  virtual ~ExpertCompute() = default;

  /// What forward keeps for backward.
  struct Saved {
    std::vector<at::Tensor> tensors;
  };
  struct Output {
    at::Tensor out_RD;
    Saved saved;
  };
  struct Gradients {
    at::Tensor rows_RD;
    std::vector<at::Tensor> weights;  // in the order of the weights; zero for an expert without rows
  };

  /// rows_RD: rows_per_expert[e] rows for each expert e in turn; any of them may be zero.
  virtual Output forward(const at::Tensor& rows_RD, const std::vector<int64_t>& rows_per_expert,
                         const std::vector<at::Tensor>& weights) const = 0;
  virtual Gradients backward(const Saved& saved, const at::Tensor& grad_out_RD,
                             const std::vector<int64_t>& rows_per_expert,
                             const std::vector<at::Tensor>& weights) const = 0;
};

/// out[t] = sum over j of weight[t, j] * expert(tokens[t], expert[t, j]).
/// Differentiable in tokens_TD, assignment.weight_TK and `weights`; the expert numbers are constants.
/// `weights`: of this rank's experts in `group`. Forward and backward are collective over Mesh::experts(): every rank's
/// loss must depend on its output (if only with a factor 0).
///
/// The rows of a pass after the first (ExpertExchange) are not kept on the rank that computes them: backward sends them
/// and computes them again, so that what a rank holds for them is bounded whatever the routing.
at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                           const ExpertGroup& group);

}  // namespace parallel
