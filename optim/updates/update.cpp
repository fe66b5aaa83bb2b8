#include "optim/updates/update.h"

#include <ATen/ATen.h>

#include <utility>

#include "optim/updates/adamw.h"
#include "optim/updates/muon.h"
#include "parallel/base/fault.h"

namespace optim {

Update::Update(std::vector<Parameter> parameters, std::vector<std::string> slots)
    : parameters_(std::move(parameters)), slots_(std::move(slots)) {
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    std::vector<at::Tensor>& states = states_.emplace_back();
    for (const Parameter& parameter : parameters_) states.push_back(at::zeros_like(parameter.tensor));
  }
}

void Update::check_count(const std::vector<at::Tensor>& gradients) const {
  parallel::check_internal(gradients.size() == parameters_.size(), gradients.size(), " gradients for ",
                           parameters_.size(), " weights");
}

bool moves(const UpdateRule& rule, const std::optional<parallel::MatrixParts>& matrices) {
  return rule.granularity == Granularity::kElement || matrices.has_value();
}

parallel::GradientUnit unit_of(const UpdateRule& rule, const std::optional<parallel::MatrixParts>& matrices) {
  if (rule.granularity == Granularity::kElement || !matrices) return {};
  return {.elements = matrices->own_elements(), .whole = matrices->whole_elements()};
}

parallel::NameTable<UpdateRule> builtin_updates() {
  return {"optimizer", {{"adamw", adamw_rule()}, {"muon", muon_rule()}}};
}

}  // namespace optim
