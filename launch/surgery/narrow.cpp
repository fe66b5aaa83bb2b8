// Experts keep their strongest hidden units (structured pruning by norm, as Read-ME and MoE compression begin).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "launch/surgery/expert_rows.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

// D width, F hidden units

struct NarrowConfig {
  int64_t hidden = 0;
};

template <class Visitor>
void visit(NarrowConfig& config, Visitor& field) {
  field("hidden", config.hidden, parallel::between(0, 1 << 24),
        "hidden units that each expert keeps: those whose weights' norms have the largest product");
}

/// The dim of the whole tensor that counts hidden units: 1 of down [E, F, D], 2 of gate and up [E, D, F].
size_t hidden_dim(const StoredWeights::Tensor& tensor) { return tensor.name.ends_with(".down") ? 1 : 2; }

/// Of one expert of the tensor, the squared norm of each hidden unit's weights.
std::vector<double> unit_norms(const Parent& parent, const StoredWeights::Tensor& tensor, int64_t expert) {
  const int64_t rows = tensor.shape[1], columns = tensor.shape[2], elements = rows * columns;
  std::vector<double> values(static_cast<size_t>(elements));
  parent.weights->read(tensor.name, {expert * elements, elements}, values.data());
  const bool by_row = hidden_dim(tensor) == 1;
  std::vector<double> norms(static_cast<size_t>(by_row ? rows : columns), 0.0);
  for (int64_t i = 0; i < elements; ++i) {
    const double value = values[static_cast<size_t>(i)];
    norms[static_cast<size_t>(by_row ? i / columns : i % columns)] += value * value;
  }
  return norms;
}

/// The kept units of each expert, in order; of equal ones the first.
std::vector<std::vector<int64_t>> kept_units(const Parent& parent, const std::vector<ExpertTensor>& tensors,
                                             int64_t experts, int64_t hidden) {
  std::vector<std::vector<int64_t>> kept;
  for (int64_t expert = 0; expert < experts; ++expert) {
    std::vector<double> worth;
    for (const ExpertTensor& tensor : tensors) {
      if (tensor.of_router) continue;
      const std::vector<double> norms = unit_norms(parent, *tensor.tensor, expert);
      worth.resize(norms.size(), 1.0);
      for (size_t unit = 0; unit < norms.size(); ++unit) worth[unit] *= norms[unit];
    }
    std::vector<int64_t>& units = kept.emplace_back(worth.size());
    std::iota(units.begin(), units.end(), int64_t{0});
    std::ranges::stable_sort(units, std::greater<>(), [&](int64_t unit) { return worth[static_cast<size_t>(unit)]; });
    units.resize(static_cast<size_t>(hidden));
    std::ranges::sort(units);
  }
  return kept;
}

MadeTensor narrowed(const StoredWeights::Tensor& tensor, const std::vector<std::vector<int64_t>>& kept) {
  MadeTensor made{tensor, {}};
  const size_t dim = hidden_dim(tensor);
  made.of.shape[dim] = std::ssize(kept.front());
  const int64_t columns = tensor.shape[2], elements = tensor.shape[1] * columns;
  for (int64_t expert = 0; expert < std::ssize(kept); ++expert) {
    made.slabs.push_back({.rows = 1,
                          .mean_of = {{.name = tensor.name,
                                       .first = expert * elements,
                                       .strides = {0, columns, 1},
                                       .chosen_dim = dim,
                                       .chosen = kept[static_cast<size_t>(expert)]}}});
  }
  return made;
}

void check_block(const Parent& parent, const ExpertBlock& block, const NarrowConfig& config) {
  const moetrain::ExpertRange& kind = block.kinds.front();
  if (block.kinds.size() > 1 || kind.kind != "feed_forward" || !kind.suffix.empty()) {
    user_error("block ", block.number, " of ", parent.place, " has the experts \"", block.moe->expert,
               "\"; narrow keeps hidden units of feed-forwards; legal: expert = \"feed_forward\"");
  }
  if (config.hidden < 1 || config.hidden >= kind.hidden) {
    user_error("hidden = ", config.hidden, ", and the experts of block ", block.number, " have ", kind.hidden,
               " hidden units; legal: 1 to ", kind.hidden - 1);
  }
}

Offspring plan_narrow(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<NarrowConfig>();
  const Parent& parent = parents.front();
  std::map<std::string, MadeTensor> changed;
  for (const ExpertBlock& block : expert_blocks_of(parent.recipe)) {
    if (!block.moe) continue;
    check_block(parent, block, config);
    const std::vector<ExpertTensor> tensors = expert_tensors(parent, block);
    const auto kept = kept_units(parent, tensors, block.kinds.front().count, config.hidden);
    for (const ExpertTensor& tensor : tensors) {
      if (!tensor.of_router) changed[tensor.tensor->name] = narrowed(*tensor.tensor, kept);
    }
  }
  if (changed.empty()) user_error(parent.place, " has no block with experts; legal: a mixture");
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  made.recipe.moe.hidden = config.hidden;
  for (moetrain::MoeConfig& named : made.recipe.moe.named) named.hidden = config.hidden;
  for (const StoredWeights::Tensor& tensor : parent.weights->tensors()) {
    const auto found = changed.find(tensor.name);
    made.tensors.push_back(found == changed.end() ? same_tensor(tensor) : found->second);
  }
  return made;
}

}  // namespace

Operation narrow_operation() {
  return {.sentence = "each expert keeps its strongest hidden units, bit for bit",
          .keys = parallel::own_keys_of<NarrowConfig>,
          .plan = plan_narrow};
}

}  // namespace launch
