#include "parallel/dispatch/expert_pipeline.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// What backward needs beside tensors that require gradients; held by the graph's node.
struct PipelineState : torch::CustomClassHolder {
  Permutation permutation;
  std::shared_ptr<const ExpertCompute> compute;
  ExpertCompute::Saved saved;
  at::Tensor out_RD;  // the experts' outputs before weighting
};

class ExpertPipelineFunction : public torch::autograd::Function<ExpertPipelineFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& tokens_TD, const Variable& weight_TK,
                          c10::intrusive_ptr<PipelineState> state, at::TensorList weights) {
    const std::vector<at::Tensor> weight_list = weights.vec();
    const at::Tensor rows_RD = gather_rows(tokens_TD, state->permutation);
    auto [out_RD, saved] = state->compute->forward(rows_RD, state->permutation.rows_per_expert, weight_list);
    state->saved = std::move(saved);
    state->out_RD = out_RD;
    at::Tensor out_TD = combine_rows(out_RD, weight_TK, state->permutation);
    variable_list kept{weight_TK};
    kept.insert(kept.end(), weight_list.begin(), weight_list.end());
    context->save_for_backward(std::move(kept));
    context->saved_data["state"] = c10::IValue::make_capsule(std::move(state));
    return out_TD;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const auto capsule = context->saved_data["state"].toCapsule();
    const auto& state = static_cast<const PipelineState&>(*capsule);
    const variable_list kept = context->get_saved_variables();
    const at::Tensor weight_TK = kept.front();
    const std::vector<at::Tensor> weights(kept.begin() + 1, kept.end());
    const Permutation& permutation = state.permutation;

    at::Tensor grad_out_RD = gather_rows(grad_outputs[0].contiguous(), permutation);
    // d out / d weight[t, j] = <grad[t], expert output of row (t, j)>; 0 where the choice was dropped.
    const at::Tensor dot_R = (grad_out_RD * state.out_RD).sum(1);
    const at::Tensor grad_weight_TK =
        at::zeros({weight_TK.numel()}, weight_TK.options()).index_copy_(0, permutation.slot_R, dot_R).view_as(weight_TK);
    grad_out_RD.mul_(weight_TK.flatten().index_select(0, permutation.slot_R).unsqueeze(1));
    auto gradients = state.compute->backward(state.saved, grad_out_RD, permutation.rows_per_expert, weights);
    variable_list result{combine_rows(gradients.rows_RD, {}, permutation), grad_weight_TK, Variable()};
    result.insert(result.end(), gradients.weights.begin(), gradients.weights.end());
    return result;
  }
};

}  // namespace

at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights) {
  auto state = c10::make_intrusive<PipelineState>();
  state->permutation = sort_by_expert(assignment.expert_TK, assignment.num_experts);
  state->compute = std::move(compute);
  return ExpertPipelineFunction::apply(tokens_TD, assignment.weight_TK, std::move(state), weights);
}

}  // namespace parallel
