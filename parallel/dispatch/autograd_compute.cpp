#include "parallel/dispatch/autograd_compute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "parallel/base/fault.h"
#include "parallel/dispatch/permutation.h"

namespace parallel {
namespace {

using Weights = ExpertCompute::Weights;

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

at::Tensor AutogradCompute::run(const at::Tensor& rows_ND, const Weights& weights) const {
  at::Tensor out_ND = expert_(rows_ND, weights);
  check_internal(out_ND.sizes() == rows_ND.sizes() && out_ND.scalar_type() == rows_ND.scalar_type(),
                 "AutogradCompute: rows of shape ", rows_ND.sizes(), " and type ", rows_ND.scalar_type(),
                 " gave an output of shape ", out_ND.sizes(), " and type ", out_ND.scalar_type());
  return out_ND;
}

at::Tensor AutogradCompute::forward(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights,
                                    const RowTensors&) const {
  at::Tensor out_RD = at::empty_like(rows_RD);
  for_each_expert(rows_per_expert, [&](int64_t e, int64_t first, int64_t rows) {
    out_RD.narrow(0, first, rows).copy_(run(rows_RD.narrow(0, first, rows), weights_of(weights, e)));
  });
  return out_RD;
}

at::Tensor AutogradCompute::backward_rows(const at::Tensor& rows_RD, const RowTensors&, const at::Tensor& grad_out_RD,
                                          const Counts& rows_per_expert, const Weights& weights,
                                          const RowTensors&) const {
  const at::AutoGradMode with_gradients(true);
  at::Tensor grad_rows_RD = at::empty_like(rows_RD);
  for_each_expert(rows_per_expert, [&](int64_t e, int64_t first, int64_t rows) {
    const at::Tensor rows_ND = rows_RD.narrow(0, first, rows).detach().requires_grad_(true);
    const at::Tensor out_ND = run(rows_ND, weights_of(weights, e));
    write(grad_rows_RD.narrow(0, first, rows), gradients_of(out_ND, {rows_ND}, grad_out_RD.narrow(0, first, rows))[0]);
  });
  return grad_rows_RD;
}

void AutogradCompute::backward_weights(const at::Tensor& rows_RD, const RowTensors&, const at::Tensor& grad_out_RD,
                                       const RowTensors&, const Counts& rows_per_expert, const Weights& weights,
                                       const Weights& gradients) const {
  const at::AutoGradMode with_gradients(true);
  for (const at::Tensor& gradient : gradients) write(gradient, {});
  for_each_expert(rows_per_expert, [&](int64_t e, int64_t first, int64_t rows) {
    Weights own = weights_of(weights, e);
    for (at::Tensor& weight : own) weight.requires_grad_(true);
    const at::Tensor out_ND = run(rows_RD.narrow(0, first, rows).detach(), own);
    const auto found = gradients_of(out_ND, own, grad_out_RD.narrow(0, first, rows));
    for (size_t i = 0; i < gradients.size(); ++i) write(gradients[i].select(0, e), found[i]);
  });
}

}  // namespace parallel
