#include "optim/updates/muon.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel/base/fault.h"

namespace optim {
namespace {

std::unique_ptr<Update> make_muon(std::vector<Parameter> parameters, const OptimizerConfig& config) {
  return std::make_unique<Muon>(std::move(parameters), config);
}

void check_muon(const OptimizerConfig& config) {
  if (!config.offload) return;
  parallel::user_error("optimizer.kind = \"muon\" multiplies matrices, which optimizer.offload = true would leave to ",
                       "the host; legal: offload = false, or kind = \"adamw\"");
}

}  // namespace

at::Tensor nearly_orthogonal(const at::Tensor& matrices_NRC, int64_t steps) {
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  // Below this a matrix is round-off and stays as small as it is.
  constexpr double kLeastNorm = 1e-7;
  const bool tall = matrices_NRC.size(1) > matrices_NRC.size(2);  // the shorter side makes the smaller products
  at::Tensor x = tall ? matrices_NRC.transpose(1, 2) : matrices_NRC;
  x = x / at::linalg_vector_norm(x, 2, at::IntArrayRef{1, 2}, /*keepdim=*/true).clamp_min(kLeastNorm);
  for (int64_t step = 0; step < steps; ++step) {
    const at::Tensor square = at::bmm(x, x.transpose(1, 2));
    const at::Tensor polynomial = at::baddbmm(square, square, square, /*beta=*/b, /*alpha=*/c);
    x = at::baddbmm(x, polynomial, x, /*beta=*/a, /*alpha=*/1);
  }
  return tall ? x.transpose(1, 2) : x;
}

Muon::Muon(std::vector<Parameter> parameters, const OptimizerConfig& config)
    : Update(std::move(parameters), muon_rule().slots), config_(config) {
  for (const Parameter& parameter : this->parameters()) {
    if (parameter.matrices) continue;
    parallel::user_error("optimizer.kind = \"muon\" cannot move ", parameter.name,
                         ", which holds no matrices; legal: ", "weights of two dimensions or more that map tokens");
  }
}

void Muon::step(const std::vector<at::Tensor>& gradients, const UpdateStep& step) {
  check_count(gradients);
  const at::NoGradGuard no_gradient;
  const auto& own = config_.own<MuonConfig>();
  const auto gathered = [&](size_t i) {
    const at::Tensor& momentum = state(0)[i];
    momentum.mul_(own.momentum).add_(gradients[i], step.gradient_scale);
    if (!own.nesterov) return parameters()[i].matrices->gather(momentum);
    return parameters()[i].matrices->gather(at::add(momentum * own.momentum, gradients[i], step.gradient_scale));
  };
  if (gradients.empty()) return;
  parallel::MatrixParts::Gathering next = gathered(0);  // one ahead: it comes while the one before is computed
  for (size_t i = 0; i < gradients.size(); ++i) {
    at::Tensor direction_NRC = next.wait();
    if (i + 1 < gradients.size()) next = gathered(i + 1);
    const at::Tensor& weight = parameters()[i].tensor;
    if (weight.numel() == 0) continue;
    const parallel::MatrixParts& matrices = *parameters()[i].matrices;
    const double scale = own.rms * std::sqrt(static_cast<double>(std::max(matrices.rows(), matrices.columns())));
    const at::Tensor update = matrices.own(nearly_orthogonal(direction_NRC, own.steps)).reshape(weight.sizes());
    const double learning_rate = step.learning_rate * parameters()[i].factor;
    weight.mul_(1 - learning_rate * config_.weight_decay).add_(update, -learning_rate * scale);
  }
}

UpdateRule muon_rule() {
  // On the way: the direction and the next one, its orthogonal matrix before and after a step, and two squares of the
  // shorter side, each at most as large.
  return {.make = make_muon,
          .granularity = Granularity::kMatrix,
          .slots = {"momentum"},
          .copies = 6,
          .keys = parallel::own_keys_of<MuonConfig>,
          .check = check_muon};
}

}  // namespace optim
