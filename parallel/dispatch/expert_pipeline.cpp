#include "parallel/dispatch/expert_pipeline.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <utility>

namespace parallel {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

/// The backward of expert_pipeline. A Node of our own, because autograd::Function takes no list of weights.
class PipelineNode : public torch::autograd::Node {
 public:
  /// Computes the output and keeps what backward needs.
  at::Tensor run(const at::Tensor& tokens_TD, const at::Tensor& weight_TK, const std::vector<at::Tensor>& weights) {
    const at::NoGradGuard no_gradient;
    const at::Tensor rows_RD = gather_rows(tokens_TD, permutation);
    auto [out_RD, saved] = compute->forward(rows_RD, permutation.rows_per_expert, weights);
    at::Tensor out_TD = combine_rows(out_RD, weight_TK, permutation);
    if (next_edges().empty()) return out_TD;  // evaluation: nothing is kept
    saved_ = std::move(saved);
    out_RD_ = std::move(out_RD);
    weight_TK_ = SavedVariable(weight_TK, /*is_output=*/false);
    for (const at::Tensor& weight : weights) weights_.emplace_back(weight, /*is_output=*/false);
    return out_TD;
  }

  variable_list apply(variable_list&& grad_outputs) override {
    if (!grad_outputs[0].defined()) return variable_list(num_outputs());  // no gradient came from above
    const at::Tensor weight_TK = weight_TK_.unpack();
    std::vector<at::Tensor> weights;
    for (const SavedVariable& weight : weights_) weights.push_back(weight.unpack());
    at::Tensor grad_out_RD = gather_rows(grad_outputs[0].contiguous(), permutation);
    // d out / d weight[t, j] = <grad[t], expert output of row (t, j)>; 0 where the choice was dropped.
    const at::Tensor dot_R = (grad_out_RD * out_RD_).sum(1);
    const at::Tensor grad_weight_TK = at::zeros({weight_TK.numel()}, weight_TK.options())
                                          .index_copy_(0, permutation.slot_R, dot_R)
                                          .view_as(weight_TK);
    grad_out_RD.mul_(weight_TK.flatten().index_select(0, permutation.slot_R).unsqueeze(1));
    auto gradients = compute->backward(saved_, grad_out_RD, permutation.rows_per_expert, weights);
    variable_list result{combine_rows(gradients.rows_RD, {}, permutation), grad_weight_TK};
    result.insert(result.end(), gradients.weights.begin(), gradients.weights.end());
    return result;
  }

  void release_variables() override {
    saved_ = {};
    out_RD_ = at::Tensor();
    weight_TK_.reset_data();
    weights_.clear();
  }

  std::string name() const override { return "ExpertPipelineBackward"; }

  Permutation permutation;
  std::shared_ptr<const ExpertCompute> compute;

 private:
  ExpertCompute::Saved saved_;
  at::Tensor out_RD_;  // the experts' outputs before weighting
  SavedVariable weight_TK_;
  std::vector<SavedVariable> weights_;
};

}  // namespace

at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights) {
  const std::shared_ptr<PipelineNode> node(new PipelineNode(), torch::autograd::deleteNode);
  node->permutation = sort_by_expert(assignment.expert_TK, assignment.num_experts);
  node->compute = std::move(compute);
  const bool differentiable = at::GradMode::is_enabled() && torch::autograd::any_variable_requires_grad([&] {
                                variable_list inputs{tokens_TD, assignment.weight_TK};
                                inputs.insert(inputs.end(), weights.begin(), weights.end());
                                return inputs;
                              }());
  if (differentiable) {
    auto edges = torch::autograd::collect_next_edges(tokens_TD, assignment.weight_TK, at::TensorList(weights));
    node->set_next_edges(std::move(edges));
  }
  at::Tensor out_TD = node->run(tokens_TD, assignment.weight_TK, weights);
  if (differentiable) torch::autograd::set_history(out_TD, node);
  return out_TD;
}

}  // namespace parallel
