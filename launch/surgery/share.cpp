// Experts come to share weights (merged experts, M-SMoE, Li et al. 2023), and get weights of their own again.
#include <algorithm>

#include "launch/surgery/expert_rows.h"
#include "moetrain/config/expert_kinds.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

struct ShareConfig {
  std::vector<int64_t> sets;
};

template <class Visitor>
void visit(ShareConfig& config, Visitor& field) {
  field("sets", config.sets, parallel::between(0, 1 << 16),
        "of each expert of a block the number of its set, such as [0, 0, 1, 2]: a set computes with the mean of its "
        "experts' weights");
}

/// The experts of each set, in order.
std::vector<std::vector<int64_t>> members_of(const std::vector<int64_t>& set_E, int64_t sets) {
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(sets));
  for (size_t expert = 0; expert < set_E.size(); ++expert) {
    members[static_cast<size_t>(set_E[expert])].push_back(static_cast<int64_t>(expert));
  }
  return members;
}

/// Rows of the parent's tensor whose mean is a row of the new one, row for row.
MadeTensor means_of_rows(const StoredWeights::Tensor& tensor, const std::vector<std::vector<int64_t>>& rows) {
  MadeTensor made{tensor, {}};
  made.of.shape.front() = std::ssize(rows);
  const int64_t row = tensor.elements() / tensor.shape.front();
  for (const std::vector<int64_t>& together : rows) {
    Slab& slab = made.slabs.emplace_back(Slab{.rows = 1});
    for (const int64_t number : together) slab.mean_of.push_back({.name = tensor.name, .first = number * row});
  }
  return made;
}

/// Writes `sets` into the configs of all kinds of layers, and makes the experts' tensors of each block of the parent's
/// rows that `rows` names, given the block as it was.
template <class Rows>
Offspring with_sets(const Parent& parent, const std::vector<int64_t>& sets, const Rows& rows) {
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  for (moetrain::MoeConfig* layer : feed_forward_layers(made.recipe)) layer->expert_weights = sets;
  ChangedTensors changed;
  for (const ExpertBlock& block : expert_blocks_of(parent.recipe)) {
    if (!block.moe || block.slot != moetrain::Slot::kFeedForward) continue;
    for (const ExpertTensor& tensor : expert_tensors(parent, block)) {
      if (!tensor.of_router) changed[tensor.tensor->name] = {means_of_rows(*tensor.tensor, rows(block))};
    }
  }
  if (changed.empty()) user_error(parent.place, " has no block with experts; legal: a mixture");
  made.tensors = tensors_with(parent, changed);
  return made;
}

Offspring plan_share(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<ShareConfig>();
  const Parent& parent = parents.front();
  return with_sets(parent, config.sets, [&](const ExpertBlock& block) {
    if (!block.moe->expert_weights.empty()) {
      user_error("block ", block.number, " of ", parent.place,
                 " has experts that share weights already; legal: --operation separate before");
    }
    if (block.kinds.size() > 1 || !block.kinds.front().suffix.empty()) {
      user_error("block ", block.number, " of ", parent.place, " has the experts \"", block.moe->expert,
                 "\"; there is no mean of several kinds or widths; legal: experts of one kind");
    }
    moetrain::MoeConfig shared = *block.moe;
    shared.expert_weights = config.sets;
    return members_of(config.sets, moetrain::weight_sets(shared));
  });
}

Offspring plan_separate(const std::vector<Parent>& parents, const parallel::OwnKeys&) {
  const Parent& parent = parents.front();
  bool any = false;
  Offspring made = with_sets(parent, {}, [&](const ExpertBlock& block) {
    any = any || !block.moe->expert_weights.empty();
    std::vector<std::vector<int64_t>> rows;
    for (int64_t expert = 0; expert < block.moe->experts; ++expert) {
      const std::vector<int64_t>& set_E = block.moe->expert_weights;
      rows.push_back({set_E.empty() ? expert : set_E[static_cast<size_t>(expert)]});
    }
    return rows;
  });
  if (!any) user_error("no experts of ", parent.place, " share weights; legal: a model with moe.expert_weights");
  return made;
}

}  // namespace

Operation share_operation() {
  return {.sentence = "experts of one set come to compute with one set of weights, the mean of theirs",
          .keys = parallel::own_keys_of<ShareConfig>,
          .plan = plan_share};
}

Operation separate_operation() {
  return {.sentence = "experts that share weights get a copy each: the same function",
          .keys = parallel::own_keys_of<NoKeys>,
          .plan = plan_separate};
}

}  // namespace launch
