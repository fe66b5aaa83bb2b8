// The experts of several mixtures side by side, the rest averaged (aggregation of experts, Kim et al. 2021, 4.2), and
// whole models averaged (Wortsman et al. 2022).
#include <algorithm>
#include <numeric>
#include <set>

#include "launch/surgery/alike.h"
#include "launch/surgery/expert_rows.h"
#include "moetrain/config/expert_kinds.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

/// All parents have it, in this shape.
MadeTensor mean_tensor(const StoredWeights::Tensor& tensor, size_t parents) {
  MadeTensor made = same_tensor(tensor);
  for (size_t p = 1; p < parents; ++p) made.slabs.front().mean_of.push_back({.parent = p, .name = tensor.name});
  return made;
}

const StoredWeights::Tensor& same_of(const Parent& other, const StoredWeights::Tensor& tensor, bool any_rows) {
  const auto found = std::ranges::find(other.weights->tensors(), tensor.name, &StoredWeights::Tensor::name);
  if (found == other.weights->tensors().end()) user_error(other.place, " has no tensor '", tensor.name, "'");
  std::vector<int64_t> shape = found->shape;
  if (any_rows) shape.front() = tensor.shape.front();
  if (shape != tensor.shape) user_error(other.place, ": '", tensor.name, "' has another shape");
  return *found;
}

void check_one_kind(const Parent& parent, const ExpertBlock& block) {
  if (block.kinds.size() == 1 && block.moe->experts == moetrain::expert_kinds(*block.moe).total()) return;
  user_error("block ", block.number, " of ", parent.place, " has experts of several kinds, \"", block.moe->expert,
             "\", or such as compute nothing; concatenate puts experts of one kind side by side");
}

Offspring plan_concatenate(const std::vector<Parent>& parents, const parallel::OwnKeys&) {
  check_alike(parents, /*any_experts=*/true);
  const Parent& parent = parents.front();
  const std::vector<ExpertBlock> blocks = expert_blocks_of(parent.recipe);
  std::vector<std::vector<ExpertBlock>> of_parent;
  for (const Parent& other : parents) of_parent.push_back(expert_blocks_of(other.recipe));
  ChosenExperts experts;
  std::set<std::string> side_by_side;
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (!blocks[b].moe) continue;
    if (const std::string& router = blocks[b].moe->router; router == "mlp" || router == "moduleformer") {
      user_error(section_of(*blocks[b].moe), ".router = \"", router, "\": the rows of several such routers see hidden ",
                 "layers of their own; legal: routers of linear scores");
    }
    int64_t sum = 0;
    for (size_t p = 0; p < parents.size(); ++p) {
      check_one_kind(parents[p], of_parent[p][b]);
      sum += of_parent[p][b].moe->experts;
    }
    for (const ExpertTensor& tensor : expert_tensors(parent, blocks[b])) side_by_side.insert(tensor.tensor->name);
    experts[blocks[b].place()] = std::vector<int64_t>(static_cast<size_t>(sum), -1);
  }
  if (experts.empty()) user_error(parent.place, " has no block with experts; legal: mixtures, or --operation average");
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  set_experts(made.recipe, blocks, experts);
  for (const StoredWeights::Tensor& tensor : parent.weights->tensors()) {
    const bool aside = side_by_side.contains(tensor.name);
    for (const Parent& other : parents) same_of(other, tensor, aside);
    if (!aside) {
      made.tensors.push_back(mean_tensor(tensor, parents.size()));
      continue;
    }
    MadeTensor one{tensor, {}};
    one.of.shape.front() = 0;
    for (size_t p = 0; p < parents.size(); ++p) {
      const StoredWeights::Tensor& own = same_of(parents[p], tensor, true);
      one.slabs.push_back(rows_of(own, 0, own.shape.front(), p));
      one.of.shape.front() += own.shape.front();
    }
    made.tensors.push_back(std::move(one));
  }
  return made;
}

Offspring plan_average(const std::vector<Parent>& parents, const parallel::OwnKeys&) {
  check_alike(parents, /*any_experts=*/false);
  Offspring made{.recipe = parents.front().recipe, .tensors = {}};
  for (const StoredWeights::Tensor& tensor : parents.front().weights->tensors()) {
    for (const Parent& other : parents) same_of(other, tensor, false);
    made.tensors.push_back(mean_tensor(tensor, parents.size()));
  }
  return made;
}

}  // namespace

Operation concatenate_operation() {
  return {.sentence = "experts and router rows of several mixtures side by side, bit for bit; the rest averaged",
          .keys = parallel::own_keys_of<NoKeys>,
          .several_parents = true,
          .plan = plan_concatenate};
}

Operation average_operation() {
  return {.sentence = "the mean of several models of one shape",
          .keys = parallel::own_keys_of<NoKeys>,
          .several_parents = true,
          .plan = plan_average};
}

}  // namespace launch
