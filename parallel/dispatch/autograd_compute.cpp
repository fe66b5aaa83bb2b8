#include "parallel/dispatch/autograd_compute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

namespace parallel {
namespace {

using Counts = ExpertCompute::Counts;
using Weights = ExpertCompute::Weights;

/// action(e, first row, rows) for every expert in turn.
template <class Action>
void for_each_expert(const Counts& rows_per_expert, Action&& action) {
  int64_t first = 0;
  for (size_t e = 0; e < rows_per_expert.size(); ++e) {
    action(static_cast<int64_t>(e), first, rows_per_expert[e]);
    first += rows_per_expert[e];
  }
}

Weights weights_of(const Weights& weights, int64_t expert) {
  Weights own;
  for (const at::Tensor& weight : weights) own.push_back(weight.detach().select(0, expert));
  return own;
}

/// What the expert's output asks of `inputs`; undefined where it does not depend on one.
std::vector<at::Tensor> gradients_of(const at::Tensor& out_ND, const Weights& inputs, const at::Tensor& grad_ND) {
  if (!out_ND.requires_grad()) return std::vector<at::Tensor>(inputs.size());
  return torch::autograd::grad({out_ND}, inputs, {grad_ND}, /*retain_graph=*/std::nullopt, /*create_graph=*/false,
                               /*allow_unused=*/true);
}

void write(at::Tensor place, const at::Tensor& gradient) {
  const at::NoGradGuard raw;
  gradient.defined() ? place.copy_(gradient) : place.zero_();
}

}  // namespace

at::Tensor AutogradCompute::forward(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights,
                                    const RowTensors&) const {
  at::Tensor out_RD = at::empty_like(rows_RD);
  for_each_expert(rows_per_expert, [&](int64_t e, int64_t first, int64_t rows) {
    if (rows > 0) out_RD.narrow(0, first, rows).copy_(expert_(rows_RD.narrow(0, first, rows), weights_of(weights, e)));
  });
  return out_RD;
}

at::Tensor AutogradCompute::backward_rows(const at::Tensor& rows_RD, const RowTensors&, const at::Tensor& grad_out_RD,
                                          const Counts& rows_per_expert, const Weights& weights,
                                          const RowTensors&) const {
  const at::AutoGradMode with_gradients(true);
  at::Tensor grad_rows_RD = at::empty_like(rows_RD);
  for_each_expert(rows_per_expert, [&](int64_t e, int64_t first, int64_t rows) {
    if (rows == 0) return;
    const at::Tensor rows_ND = rows_RD.narrow(0, first, rows).detach().requires_grad_(true);
    const at::Tensor out_ND = expert_(rows_ND, weights_of(weights, e));
    write(grad_rows_RD.narrow(0, first, rows), gradients_of(out_ND, {rows_ND}, grad_out_RD.narrow(0, first, rows))[0]);
  });
  return grad_rows_RD;
}

void AutogradCompute::backward_weights(const at::Tensor& rows_RD, const RowTensors&, const at::Tensor& grad_out_RD,
                                       const RowTensors&, const Counts& rows_per_expert, const Weights& weights,
                                       const Weights& gradients) const {
  const at::AutoGradMode with_gradients(true);
  for_each_expert(rows_per_expert, [&](int64_t e, int64_t first, int64_t rows) {
    Weights own = weights_of(weights, e), found(own.size());
    for (at::Tensor& weight : own) weight.requires_grad_(true);
    if (rows > 0) {
      const at::Tensor out_ND = expert_(rows_RD.narrow(0, first, rows).detach(), own);
      found = gradients_of(out_ND, own, grad_out_RD.narrow(0, first, rows));
    }
    for (size_t i = 0; i < gradients.size(); ++i) write(gradients[i].select(0, e), found[i]);
  });
}

}  // namespace parallel
