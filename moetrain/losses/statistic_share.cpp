#include "moetrain/losses/statistic_share.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "moetrain/config/expert_kinds.h"

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

at::Tensor local_mean(const RoutingDecision& decision, const BatchScope& scope) {
  return decision.probabilities_TE.sum(0) / static_cast<double>(scope.global_tokens);
}

int64_t bytes_of_each_expert(const MoeConfig& config, const LossSizes& sizes) {
  return sizes.number * expert_kinds(config).total();
}

}  // namespace moetrain
