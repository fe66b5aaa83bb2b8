#include "parallel/dispatch/gathered_experts.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <utility>

#include "parallel/autograd/gradient_place.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/dispatch/chunk_trace.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/dispatch/row_tensors.h"
#include "parallel/phases/phase.h"

namespace parallel {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

class GatheredNode : public ExpertNode {
 public:
  GatheredNode(const ChoiceOrder& order, std::shared_ptr<const ExpertCompute> compute, const ExpertGroup& group)
      : compute_(std::move(compute)),
        schedule_(group.mesh->schedule()),
        layer_(group.layer),
        sorted_(order.permutation()) {
    all_.rows_per_expert = sorted_.rows_per_expert;
  }

  at::Tensor run(const at::Tensor& tokens_TD, const at::Tensor& weight_TK,
                 const std::vector<at::Tensor>& weights) override {
    const at::NoGradGuard no_gradient;
    const bool kept = !next_edges().empty();
    RowTensors saved;
    if (kept) saved = places(gathering().gathered_widths(weights), sorted_.rows(), tokens_TD.options());
    const at::Tensor out_RD = computed(Direction::kForward, TaskKind::kExperts, [&] {
      return gathering().forward_gathered(rows_of(tokens_TD), weights, saved);
    });
    at::Tensor output = in_phase(PhaseName::kCombine, [&] { return combine_rows(out_RD, weight_TK, sorted_); });
    if (!kept) return output;
    saved_ = std::move(saved);
    tokens_TD_ = SavedVariable(tokens_TD, /*is_output=*/false);
    weight_TK_ = SavedVariable(weight_TK, /*is_output=*/false);
    for (const at::Tensor& weight : weights) weights_.emplace_back(weight, /*is_output=*/false);
    return output;
  }

  variable_list apply(variable_list&& grad_outputs) override {
    if (!grad_outputs[0].defined()) return variable_list(num_outputs());
    const at::NoGradGuard no_gradient;
    const at::Tensor tokens_TD = tokens_TD_.unpack(), weight_TK = weight_TK_.unpack();
    check_internal(weight_TK.scalar_type() == tokens_TD.scalar_type(), "expert_pipeline: weights of type ",
                   weight_TK.scalar_type(), ", tokens of ", tokens_TD.scalar_type());
    std::vector<at::Tensor> weights;
    for (const SavedVariable& weight : weights_) weights.push_back(weight.unpack());
    const WeightedGradients above{.sum_TD = grad_outputs[0].contiguous(),
                                  .weight_R = weight_TK.flatten().index_select(0, sorted_.slot_R),
                                  .grad_weight_R = at::empty({sorted_.rows()}, weight_TK.options())};
    schedule_->release_gradients(schedule_->layer(layer_).moe_gradient_bytes);
    std::vector<at::Tensor> gradients = empty_gradients(*compute_, weights);
    // The gradients of weights are made beside those of rows.
    const at::Tensor grad_rows_RD = computed(Direction::kBackward, TaskKind::kExperts, [&] {
      return gathering().backward_gathered(rows_of(tokens_TD), to_write(saved_), above, weights, gradients);
    });
    schedule_->release_gradients(schedule_->layer(layer_).dense_gradient_bytes);
    at::Tensor grad_weight_TK = in_phase(PhaseName::kCombine, [&] {
      const at::Tensor of_slot = at::zeros({weight_TK.numel()}, weight_TK.options());
      return of_slot.index_copy_(0, sorted_.slot_R, above.grad_weight_R).view_as(weight_TK);
    });
    variable_list result{in_phase(PhaseName::kPermute, [&] { return combine_rows(grad_rows_RD, {}, sorted_); }),
                         std::move(grad_weight_TK)};
    result.insert(result.end(), gradients.begin(), gradients.end());
    result.resize(num_outputs());
    return result;
  }

  void release_variables() override {
    saved_.clear();
    tokens_TD_.reset_data();
    weight_TK_.reset_data();
    weights_.clear();
  }

  std::string name() const override { return "GatheredExpertsBackward"; }

 private:
  const GatheringCompute& gathering() const { return *compute_->gathering(); }
  TokenRows rows_of(const at::Tensor& tokens_TD) const {
    return {tokens_TD.contiguous(), sorted_.token_R, sorted_.rows_per_expert};
  }

  template <class Action>
  at::Tensor computed(Direction direction, TaskKind kind, const Action& action) const {
    ChunkTrace trace(schedule_->recorder(), layer_, direction);
    const ComputeSpan span(trace, kind, all_, /*number=*/0);
    return action();
  }

  std::shared_ptr<const ExpertCompute> compute_;
  std::shared_ptr<const Schedule> schedule_;
  int64_t layer_;
  Permutation sorted_;
  RowChunk all_;  // for the trace
  RowTensors saved_;
  SavedVariable tokens_TD_, weight_TK_;
  std::vector<SavedVariable> weights_;
};

}  // namespace

std::vector<at::Tensor> ExpertNode::empty_gradients(const ExpertCompute& compute,
                                                    const std::vector<at::Tensor>& weights) const {
  constexpr size_t kFirstWeight = 2;  // of the next edges
  bool trained = false;
  for (size_t i = kFirstWeight; i < num_outputs(); ++i) trained = trained || task_should_compute_output(i);
  std::vector<at::Tensor> gradients;
  if (!trained) return gradients;
  for (const at::Tensor& weight : weights) {
    const bool summed = has_loops(weight) && compute.writes_summed_gradients();
    gradients.push_back(empty_gradient(weight, summed ? GradientWidth::kSummed : GradientWidth::kOwn));
  }
  return gradients;
}

RowTensors ExpertNode::to_write(RowTensors saved) {
  if (!torch::autograd::get_current_graph_task_keep_graph()) return saved;
  for (at::Tensor& each : saved) each = each.clone();
  return saved;
}

bool can_gather(const at::Tensor& tokens_TD, const ExpertCompute& compute, const ExpertGroup& group) {
  return group.mesh->experts().size() == 1 && has_loops(tokens_TD) && compute.gathering() != nullptr;
}

std::shared_ptr<ExpertNode> gathered_node(const ChoiceOrder& order, std::shared_ptr<const ExpertCompute> compute,
                                          const ExpertGroup& group) {
  return {new GatheredNode(order, std::move(compute), group), torch::autograd::deleteNode};
}

}  // namespace parallel
