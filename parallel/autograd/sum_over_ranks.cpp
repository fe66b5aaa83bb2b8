#include "parallel/autograd/sum_over_ranks.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

at::Tensor reduced(const at::Tensor& local, Communicator& group) {
  const at::NoGradGuard no_gradient;
  at::Tensor sum = local.detach().contiguous().clone();
  group.all_reduce(sum, ReduceOp::kSum).wait();
  return sum;
}

/// Of its own, because autograd::Function saves tensors and numbers, and no communicator.
class SumOverRanksNode : public torch::autograd::Node {
 public:
  explicit SumOverRanksNode(Communicator& group) : group_(group) {}
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    check_internal(gradients[0].defined(), "sum_over_ranks: no gradient came from above, and other ranks wait");
    return {reduced(gradients[0], group_)};
  }
  std::string name() const override { return "SumOverRanksBackward"; }

 private:
  Communicator& group_;
};

}  // namespace

at::Tensor sum_over_ranks(const at::Tensor& local, Communicator& group) {
  at::Tensor sum = reduced(local, group);
  if (!at::GradMode::is_enabled() || !local.requires_grad()) return sum;
  const std::shared_ptr<SumOverRanksNode> node(new SumOverRanksNode(group), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(local));
  torch::autograd::set_history(sum, node);
  return sum;
}

}  // namespace parallel
