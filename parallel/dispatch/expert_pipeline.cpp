#include "parallel/dispatch/expert_pipeline.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <utility>

#include "parallel/base/fault.h"

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
    const bool kept = !next_edges().empty();  // in evaluation nothing is
    const at::Tensor rows_RD = gather_rows(tokens_TD, permutation);
    at::Tensor out_RD;
    for (int64_t pass = 0; pass < exchange->passes(); ++pass) {
      auto [out_ND, saved] =
          compute->forward(exchange->dispatch(rows_RD, pass), exchange->rows_per_expert(pass), weights);
      exchange->combine(out_ND, pass, out_RD);
      if (kept && pass == 0) saved_ = std::move(saved);
    }
    at::Tensor out_TD = combine_rows(out_RD, weight_TK, permutation);
    if (!kept) return out_TD;
    out_RD_ = std::move(out_RD);
    weight_TK_ = SavedVariable(weight_TK, /*is_output=*/false);
    if (exchange->passes() > 1) tokens_TD_ = SavedVariable(tokens_TD, /*is_output=*/false);
    for (const at::Tensor& weight : weights) weights_.emplace_back(weight, /*is_output=*/false);
    return out_TD;
  }

  variable_list apply(variable_list&& grad_outputs) override {
    if (!grad_outputs[0].defined()) {
      check_internal(!together, "expert_pipeline: no gradient came from above, and other ranks wait");
      return variable_list(num_outputs());
    }
    const at::NoGradGuard no_gradient;
    const at::Tensor weight_TK = weight_TK_.unpack();
    std::vector<at::Tensor> weights;
    for (const SavedVariable& weight : weights_) weights.push_back(weight.unpack());
    at::Tensor grad_out_RD = gather_rows(grad_outputs[0].contiguous(), permutation);
    // d out / d weight[t, j] = <grad[t], expert output of row (t, j)>; 0 where the choice was dropped.
    const at::Tensor dot_R = (grad_out_RD * out_RD_).sum(1);
    const at::Tensor grad_weight_TK = at::zeros({weight_TK.numel()}, weight_TK.options())
                                          .index_copy_(0, permutation.slot_R, dot_R)
                                          .view_as(weight_TK);
    at::Tensor weight_R1 = weight_TK.flatten().index_select(0, permutation.slot_R).unsqueeze(1);
    if (!exchange->sends_copies_once()) {
      grad_out_RD.mul_(weight_R1);
      weight_R1 = at::Tensor();
    }
    auto [grad_rows_RD, grad_weights] = experts_backward(grad_out_RD, weight_R1, weights);
    variable_list result{combine_rows(grad_rows_RD, {}, permutation), grad_weight_TK};
    result.insert(result.end(), grad_weights.begin(), grad_weights.end());
    return result;
  }

  void release_variables() override {
    saved_ = {};
    out_RD_ = at::Tensor();
    tokens_TD_.reset_data();
    weight_TK_.reset_data();
    weights_.clear();
  }

  std::string name() const override { return "ExpertPipelineBackward"; }

  Permutation permutation;
  std::unique_ptr<const ExpertExchange> exchange;
  std::shared_ptr<const ExpertCompute> compute;
  bool together = false;  // whether other ranks take part

 private:
  /// `weight_R1`: still to be multiplied in, where it is done; until then a token's gradients are equal, so that they
  /// cross to another host once.
  ExpertCompute::Gradients experts_backward(const at::Tensor& grad_out_RD, const at::Tensor& weight_R1,
                                            const std::vector<at::Tensor>& weights) {
    ExpertCompute::Gradients all;
    at::Tensor rows_RD;
    if (exchange->passes() > 1) rows_RD = gather_rows(tokens_TD_.unpack(), permutation);
    for (int64_t pass = 0; pass < exchange->passes(); ++pass) {
      const std::vector<int64_t>& counts = exchange->rows_per_expert(pass);
      ExpertCompute::Saved again;
      if (pass > 0) again = compute->forward(exchange->dispatch(rows_RD, pass), counts, weights).saved;
      at::Tensor grad_ND = exchange->dispatch(grad_out_RD, pass);
      if (weight_R1.defined()) grad_ND.mul_(exchange->dispatch_distinct(weight_R1, pass));
      auto part = compute->backward(pass > 0 ? again : saved_, grad_ND, counts, weights);
      exchange->combine(part.rows_RD, pass, all.rows_RD);
      if (pass == 0) {
        all.weights = std::move(part.weights);
      } else {
        for (size_t i = 0; i < weights.size(); ++i) all.weights[i].add_(part.weights[i]);
      }
    }
    return all;
  }

  ExpertCompute::Saved saved_;  // of the first pass
  at::Tensor out_RD_;           // the experts' outputs before weighting
  SavedVariable tokens_TD_;     // where there are further passes
  SavedVariable weight_TK_;
  std::vector<SavedVariable> weights_;
};

}  // namespace

at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                           const ExpertGroup& group) {
  const std::shared_ptr<PipelineNode> node(new PipelineNode(), torch::autograd::deleteNode);
  node->permutation = sort_by_expert(assignment.expert_TK, assignment.num_experts);
  node->exchange = std::make_unique<ExpertExchange>(group, node->permutation.rows_per_expert, tokens_TD.device(),
                                                    node->permutation.token_R);
  node->compute = std::move(compute);
  node->together = group.mesh->experts().size() > 1;
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
