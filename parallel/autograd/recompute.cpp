#include "parallel/autograd/recompute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <utility>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

/// A Node of our own: autograd::Function keeps no function and takes no list of parameters. Its inner backward is
/// re-entrant; the engine finishes a deeper one before it goes on with any task of the outer one.
class RecomputeNode : public torch::autograd::Node {
 public:
  RecomputeNode(TensorFunction again, const variable_list& inputs, const variable_list& parameters)
      : again_(std::move(again)) {
    for (const at::Tensor& input : inputs) inputs_.emplace_back(input, /*is_output=*/false);
    for (const at::Tensor& parameter : parameters) parameters_.emplace_back(parameter, /*is_output=*/false);
  }

  /// `first`'s outputs, as this node's. The gradient that comes for its n-th output is that of outputs[output_[n]].
  variable_list own(const variable_list& outputs, const std::shared_ptr<RecomputeNode>& self) {
    variable_list result;
    for (const at::Tensor& output : outputs) {
      result.push_back(output.defined() ? output.detach() : at::Tensor());
      if (!output.defined()) continue;
      torch::autograd::set_history(result.back(), self);
      output_.push_back(result.size() - 1);
    }
    return result;
  }

  variable_list apply(variable_list&& grad_outputs) override {
    check_internal(!at::GradMode::is_enabled(), "recompute: there is no gradient of its gradient");
    check_internal(inputs_.size() + parameters_.size() == num_outputs(), "recompute: a second backward");
    variable_list inputs, wanted;
    std::vector<size_t> place;  // of each wanted gradient among those of this node
    const auto want = [&](const at::Tensor& tensor, size_t index) {
      if (!task_should_compute_output(index)) return;
      wanted.push_back(tensor);
      place.push_back(index);
    };
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const at::Tensor input = inputs_[i].unpack();
      inputs.push_back(input.defined() ? input.detach().requires_grad_(input.requires_grad()) : input);
      want(inputs.back(), i);
    }
    for (size_t i = 0; i < parameters_.size(); ++i) want(parameters_[i].unpack(), inputs_.size() + i);
    variable_list result(num_outputs());
    variable_list gradients = backward_again(inputs, std::move(grad_outputs), wanted);
    for (size_t i = 0; i < gradients.size(); ++i) result[place[i]] = std::move(gradients[i]);
    // A parameter's hooks fire even for a gradient that is undefined, and then expect one.
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (place[i] >= inputs_.size() && !result[place[i]].defined()) result[place[i]] = at::zeros_like(wanted[i]);
    }
    return result;
  }

  void release_variables() override {
    again_ = nullptr;
    inputs_.clear();
    parameters_.clear();
  }

  std::string name() const override { return "RecomputeBackward"; }

 private:
  variable_list backward_again(const variable_list& inputs, variable_list&& grad_outputs,
                               const variable_list& wanted) const {
    const at::AutoGradMode with_gradient(true);
    variable_list outputs = again_(inputs), roots, grad_roots;
    for (size_t n = 0; n < grad_outputs.size(); ++n) {
      at::Tensor& output = outputs[output_[n]];
      if (!grad_outputs[n].defined() || !output.requires_grad()) continue;
      roots.push_back(std::move(output));
      grad_roots.push_back(std::move(grad_outputs[n]));
    }
    if (roots.empty() || wanted.empty()) return {};
    return torch::autograd::grad(roots, wanted, grad_roots, /*retain_graph=*/false, /*create_graph=*/false,
                                 /*allow_unused=*/true);
  }

  TensorFunction again_;
  std::vector<SavedVariable> inputs_, parameters_;
  std::vector<size_t> output_;
};

thread_local int replayed_later = 0;

struct ReplayedLater {
  ReplayedLater() { ++replayed_later; }
  ReplayedLater(const ReplayedLater&) = delete;
  ~ReplayedLater() { --replayed_later; }
};

}  // namespace

bool will_be_replayed() { return replayed_later > 0; }

std::vector<at::Tensor> recompute(const TensorFunction& first, TensorFunction again,
                                  const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& parameters) {
  variable_list all = inputs;
  all.insert(all.end(), parameters.begin(), parameters.end());
  if (!at::GradMode::is_enabled() || !torch::autograd::any_variable_requires_grad(all)) return first(inputs);
  const std::shared_ptr<RecomputeNode> node(new RecomputeNode(std::move(again), inputs, parameters),
                                            torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(at::TensorList(all)));
  variable_list outputs;
  {
    const at::NoGradGuard no_gradient;
    const ReplayedLater replayed;
    outputs = first(inputs);
  }
  return node->own(outputs, node);
}

}  // namespace parallel
