#include "optim/optimizer.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/device/accelerator.h"

namespace optim {
namespace {

std::vector<at::Tensor> tensors_of(const std::vector<Parameter>& parameters) {
  std::vector<at::Tensor> tensors;
  for (const Parameter& parameter : parameters) tensors.push_back(parameter.tensor);
  return tensors;
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter> parameters, const OptimizerConfig& config, const Schedule& schedule,
                     const UpdateRule& rule)
    : config_(config), schedule_(schedule), masters_(tensors_of(parameters), config.offload) {
  Part by_rule, by_adamw;
  std::vector<Parameter> of_rule, of_adamw;
  for (size_t i = 0; i < parameters.size(); ++i) {
    names_.push_back(parameters[i].name);
    parameters[i].tensor = masters_.tensors()[i];
    const bool moved = moves(rule, parameters[i].matrices);
    (moved ? by_rule : by_adamw).members.push_back(i);
    (moved ? of_rule : of_adamw).push_back(std::move(parameters[i]));
  }
  if (config.average > 0) {
    for (const at::Tensor& master : masters_.tensors()) averages_.push_back(master.detach().clone());
  }
  by_rule.update = rule.make(std::move(of_rule), config);
  by_adamw.update = adamw_rule().make(std::move(of_adamw), config);
  parts_.push_back(std::move(by_rule));
  if (!by_adamw.members.empty()) parts_.push_back(std::move(by_adamw));
}

UpdateReport Optimizer::step(const std::vector<at::Tensor>& gradients, double norm) {
  const double learning_rate = config_.learning_rate * learning_rate_scale(schedule_, updates_);
  const double scale = clip_scale(norm, config_.clip_norm);
  parallel::check_internal(gradients.size() == names_.size(), gradients.size(), " gradients for ", names_.size(),
                           " parameters");
  ++updates_;
  for (Part& part : parts_) {
    std::vector<at::Tensor> own;
    for (const size_t i : part.members) own.push_back(gradients[i]);
    if (config_.offload) own = parallel::fetch(own);
    part.update->step(own, {.learning_rate = learning_rate, .gradient_scale = scale, .number = updates_});
  }
  for (size_t i = 0; i < averages_.size(); ++i) averages_[i].lerp_(masters_.tensors()[i].detach(), 1 - config_.average);
  masters_.publish();
  return {learning_rate, scale};
}

std::vector<NamedTensor> Optimizer::masters() const {
  std::vector<NamedTensor> all;
  for (size_t i = 0; i < names_.size(); ++i) all.push_back({names_[i], masters_.tensors()[i]});
  return all;
}

std::vector<StateTensor> Optimizer::state() const {
  std::vector<StateTensor> all;
  for (const Part& part : parts_) {
    for (size_t i = 0; i < part.members.size(); ++i) {
      for (size_t slot = 0; slot < part.update->slots().size(); ++slot) {
        all.push_back({part.update->slots()[slot], names_[part.members[i]], part.update->state(slot)[i]});
      }
    }
  }
  for (size_t i = 0; i < averages_.size(); ++i) all.push_back({kAverage, names_[i], averages_[i]});
  return all;
}

void Optimizer::begin() {
  for (size_t i = 0; i < averages_.size(); ++i) averages_[i].copy_(masters_.tensors()[i].detach());
  resume_at(0);
}

void Optimizer::resume_at(int64_t updates) {
  updates_ = updates;
  masters_.publish();
}

}  // namespace optim
