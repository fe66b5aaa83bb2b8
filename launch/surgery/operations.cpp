#include <algorithm>

#include "launch/interchange/tensors/safetensors.h"
#include "launch/surgery/operation.h"
#include "parallel/base/fault.h"

namespace launch {

parallel::NameTable<Operation> builtin_operations() {
  return {"operation",
          {{"copy", copy_operation()},
           {"select", select_operation()},
           {"prune", prune_operation()},
           {"grow", grow_operation()},
           {"add_null", add_null_operation()},
           {"narrow", narrow_operation()},
           {"share", share_operation()},
           {"separate", separate_operation()},
           {"widen_vocabulary", widen_vocabulary_operation()},
           {"concatenate", concatenate_operation()},
           {"average", average_operation()}}};
}

Parent parent_of(const std::filesystem::path& path, const StartPoint& start, const std::optional<int64_t>& seed) {
  Parent parent{.place = path.string(),
                .recipe = start.recipe(),
                .tokenizer_hash = start.tokenizer_hash(),
                .weights = open_stored_weights(path)};
  parent.recipe.model.vocabulary = start.vocabulary();
  if (seed) parent.recipe.run.seed = *seed;
  return parent;
}

std::vector<const StoredWeights*> weights_of(const std::vector<Parent>& parents) {
  std::vector<const StoredWeights*> weights;
  for (const Parent& parent : parents) weights.push_back(parent.weights.get());
  return weights;
}

ParameterTable check_offspring(const Offspring& made, const std::vector<Parent>& parents) {
  using parallel::user_error;
  ParameterTable table = count_parameters(made.recipe, made.recipe.model.vocabulary, /*ranks=*/1, /*rank=*/0);
  const std::vector<const StoredWeights*> stored = weights_of(parents);
  size_t weights = 0;
  for (const MadeTensor& tensor : made.tensors) {
    check_made(tensor, stored);
    if (tensor.of.is_buffer) continue;
    ++weights;
    const ParameterShare* share = table.find(tensor.of.name);
    if (share != nullptr && share->whole == tensor.of.elements()) continue;
    user_error("the operation makes '", tensor.of.name, "' ", interchange::shape_text(tensor.of.shape),
               ", and the changed recipe's model ",
               share == nullptr ? "has none of that name" : parallel::concat("has ", share->whole, " numbers there"));
  }
  if (weights == table.own.size() + table.frozen.size()) return table;
  for (const std::vector<ParameterShare>* shares : {&table.own, &table.frozen}) {
    for (const ParameterShare& share : *shares) {
      const bool is_made = std::ranges::any_of(
          made.tensors, [&](const MadeTensor& tensor) { return !tensor.of.is_buffer && tensor.of.name == share.name; });
      if (!is_made) user_error("the operation makes nothing for '", share.name, "' of the changed recipe's model");
    }
  }
  return table;
}

}  // namespace launch
