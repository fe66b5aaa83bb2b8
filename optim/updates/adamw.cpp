#include "optim/updates/adamw.h"

#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <utility>

namespace optim {
namespace {

/// The lists that the kernel takes, for the tensors that share a decay and a learning rate.
struct Group {
  std::vector<at::Tensor> weights, gradients, first, second, steps;
};

std::unique_ptr<Update> make_adamw(std::vector<Parameter> parameters, const OptimizerConfig& config) {
  return std::make_unique<AdamW>(std::move(parameters), config);
}

}  // namespace

AdamW::AdamW(std::vector<Parameter> parameters, const OptimizerConfig& config)
    : Update(std::move(parameters), adamw_rule().slots), config_(config) {}

void AdamW::step(const std::vector<at::Tensor>& gradients, const UpdateStep& step) {
  check_count(gradients);
  const at::NoGradGuard no_gradient;
  if (gradients.empty()) return;
  const at::Tensor& any = parameters().front().tensor;
  const auto options = any.options().dtype(at::kFloat);
  std::map<int64_t, at::Tensor> steps;  // by when the moments began
  // The kernel divides, by a float32 number: float64 gradients would lose half of their digits, and are scaled apart.
  const bool scaled_apart = any.scalar_type() == at::kDouble && step.gradient_scale != 1.0;
  std::optional<at::Tensor> divisor;
  if (!scaled_apart && step.gradient_scale != 1.0) divisor = at::full({}, 1.0 / step.gradient_scale, options);
  // By decay and learning rate.
  std::map<std::pair<double, double>, Group> groups;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor& weight = parameters()[i].tensor;
    const double decay = weight.dim() >= 2 ? config_.weight_decay : 0.0;
    Group& group = groups[{decay, step.learning_rate * parameters()[i].factor}];
    group.weights.push_back(weight);
    group.gradients.push_back(scaled_apart ? gradients[i] * step.gradient_scale : gradients[i]);
    group.first.push_back(state(0)[i]);
    group.second.push_back(state(1)[i]);
    at::Tensor& own_steps = steps[parameters()[i].begun];
    if (!own_steps.defined()) {
      own_steps = at::full({}, static_cast<double>(step.number - parameters()[i].begun), options);
    }
    group.steps.push_back(own_steps);
  }
  for (auto& [rates, group] : groups) {
    const auto [decay, learning_rate] = rates;
    at::_fused_adamw_(group.weights, group.gradients, group.first, group.second, {}, group.steps, learning_rate,
                      config_.beta1, config_.beta2, decay, config_.epsilon, /*amsgrad=*/false, /*maximize=*/false,
                      divisor, /*found_inf=*/{});
  }
}

UpdateRule adamw_rule() { return {.make = make_adamw, .slots = {"first_moment", "second_moment"}}; }

}  // namespace optim
