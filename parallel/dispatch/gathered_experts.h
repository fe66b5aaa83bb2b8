// Experts in the graph of autograd, and those whose rows are gathered turn by turn.
// defines: ExpertNode, can_gather, gathered_node
#pragma once
#include <torch/csrc/autograd/function.h>

#include <memory>
#include <vector>

#include "parallel/dispatch/expert_compute.h"
#include "parallel/dispatch/expert_exchange.h"

namespace parallel {

/// A layer's experts, forward and backward. A Node of our own, because autograd::Function takes no list of weights: its
/// next edges are of the input, the choices' weights and the experts' weights, in this order.
class ExpertNode : public torch::autograd::Node {
 public:
  /// The output; keeps what backward needs where there are next edges. weight_TK: undefined where choices come out,
  /// which nothing sums.
  virtual at::Tensor run(const at::Tensor& input, const at::Tensor& weight_TK,
                         const std::vector<at::Tensor>& weights) = 0;

 protected:
  /// In backward, where those of the weights are to be written; none where all are frozen. Of some that are trained,
  /// all of a layer's are made.
  std::vector<at::Tensor> empty_gradients(const ExpertCompute& compute, const std::vector<at::Tensor>& weights) const;
  /// In backward, which writes over what forward saved: of a graph that is kept a copy.
  static RowTensors to_write(RowTensors saved);
};

/// Whether gathered_node serves this layer: every expert is here, and so are all rows, on the processor, and the kind
/// can (ExpertCompute::gathering).
bool can_gather(const at::Tensor& tokens_TD, const ExpertCompute& compute, const ExpertGroup& group);

/// out[t] = sum over j of weight[t, j] * expert(tokens[t], expert[t, j]) in one piece, whatever the schedule says.
/// Keeps the tokens themselves, which the router keeps too, and what the kind asks for, but neither rows nor outputs.
/// @pre can_gather
std::shared_ptr<ExpertNode> gathered_node(const ChoiceOrder& order, std::shared_ptr<const ExpertCompute> compute,
                                          const ExpertGroup& group);

}  // namespace parallel
