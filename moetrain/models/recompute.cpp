#include "moetrain/models/recompute.h"

#include <memory>
#include <utility>

#include "parallel/autograd/recompute.h"

namespace moetrain {
namespace {

/// Output and, where there is a router, the tensors of its decision that gradient flows through.
std::vector<at::Tensor*> tensors_of(MixedTokens& mixed) {
  std::vector<at::Tensor*> all{&mixed.out_TD};
  if (!mixed.decision) return all;
  const std::vector<at::Tensor*> learned = differentiable(*mixed.decision);
  all.insert(all.end(), learned.begin(), learned.end());
  return all;
}

std::vector<at::Tensor> values_of(MixedTokens mixed) {
  std::vector<at::Tensor> values;
  for (at::Tensor* tensor : tensors_of(mixed)) values.push_back(std::move(*tensor));
  return values;
}

}  // namespace

MixedTokens recomputed(const BlockPart& part, const std::vector<at::Tensor>& inputs,
                       const std::vector<at::Tensor>& parameters) {
  MixedTokens mixed;
  const auto choices = std::make_shared<std::optional<RoutingChoices>>();
  const auto first = [&](const std::vector<at::Tensor>& tensors) {
    mixed = part(tensors, nullptr);
    if (mixed.decision) *choices = choices_of(*mixed.decision);
    return values_of(mixed);
  };
  const auto again = [part, choices](const std::vector<at::Tensor>& tensors) {
    return values_of(part(tensors, choices->has_value() ? &**choices : nullptr));
  };
  const std::vector<at::Tensor> values = parallel::recompute(first, again, inputs, parameters);
  const std::vector<at::Tensor*> tensors = tensors_of(mixed);
  for (size_t i = 0; i < tensors.size(); ++i) *tensors[i] = values[i];
  return mixed;
}

}  // namespace moetrain
