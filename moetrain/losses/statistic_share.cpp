#include "moetrain/losses/statistic_share.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace moetrain {

at::Tensor share_of_statistic(const at::Tensor& local, parallel::Communicator& group,
                              at::Tensor (*function)(const at::Tensor& global)) {
  at::Tensor global = local.detach().contiguous().clone();
  group.all_reduce(global, parallel::ReduceOp::kSum).wait();
  global.requires_grad_(true);
  const at::AutoGradMode with_gradient(true);
  const at::Tensor value = function(global);
  const at::Tensor slope = torch::autograd::grad({value}, {global}).front();
  return value.detach() / static_cast<double>(group.size()) + (slope * (local - local.detach())).sum();
}

}  // namespace moetrain
