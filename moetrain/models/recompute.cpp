#include "moetrain/models/recompute.h"

#include <memory>
#include <utility>

#include "parallel/autograd/recompute.h"

namespace moetrain {
namespace {

/// Output and, of each decision, the tensors that gradient flows through.
std::vector<at::Tensor*> tensors_of(PartOutput& output) {
  std::vector<at::Tensor*> all{&output.out_TD};
  for (RoutingDecision& decision : output.decisions) {
    const std::vector<at::Tensor*> learned = differentiable(decision);
    all.insert(all.end(), learned.begin(), learned.end());
  }
  return all;
}

std::vector<at::Tensor> values_of(PartOutput output) {
  std::vector<at::Tensor> values;
  for (at::Tensor* tensor : tensors_of(output)) values.push_back(std::move(*tensor));
  return values;
}

}  // namespace

PartOutput recomputed(const BlockPart& part, const std::vector<at::Tensor>& inputs,
                      const std::vector<at::Tensor>& parameters) {
  PartOutput output;
  const auto choices = std::make_shared<std::vector<RoutingChoices>>();
  const auto first = [&](const std::vector<at::Tensor>& tensors) {
    output = part(tensors, {});
    for (const RoutingDecision& decision : output.decisions) choices->push_back(choices_of(decision));
    return values_of(output);
  };
  const auto again = [part, choices](const std::vector<at::Tensor>& tensors) {
    return values_of(part(tensors, *choices));
  };
  const std::vector<at::Tensor> values = parallel::recompute(first, again, inputs, parameters);
  const std::vector<at::Tensor*> tensors = tensors_of(output);
  for (size_t i = 0; i < tensors.size(); ++i) *tensors[i] = values[i];
  return output;
}

}  // namespace moetrain
