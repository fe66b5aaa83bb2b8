// Feed-forwards keep their strongest hidden units: by the weights' norms, or by how strongly recorded text made them
// fire (as Read-ME, Cai et al. 2024, chooses the neurons of its experts).
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "launch/surgery/recorded_use.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace launch {
namespace {

using parallel::user_error;

// D width, F hidden units, E experts

struct NarrowConfig {
  int64_t hidden = 0;
  std::string of = "experts";
  std::string by = "norm";
  UseConfig recorded;
};

struct UnitRule {
  at::Tensor LayerUse::*recorded = nullptr;  // null: the weights say it,
  bool drawn = false;                        // or nothing does
};

parallel::NameTable<UnitRule> unit_rules() {
  return {"way to choose hidden units (by)",
          {{"norm", {}},
           {"mean", {&LayerUse::hidden_absolute_GRF}},
           {"square", {&LayerUse::hidden_square_GRF}},
           {"random", {.drawn = true}}}};
}

/// Whose units are chosen: where its tensors are, and which key says how many there are.
struct Owner {
  LayerPart part = LayerPart::kExperts;
  const char* place = nullptr;  // in a block's names
};

parallel::NameTable<Owner> owners() {
  return {"owner of hidden units (of)",
          {{"experts", {LayerPart::kExperts, "moe.experts."}},
           {"dense", {LayerPart::kDense, "feed_forward."}},
           {"shared", {LayerPart::kShared, "moe.shared."}}}};
}

template <class Visitor>
void visit(NarrowConfig& config, Visitor& field) {
  using namespace parallel;
  Legal rules = anything(), whose = anything();
  rules.names = unit_rules().names();
  whose.names = owners().names();
  field("hidden", config.hidden, between(0, 1 << 24), "hidden units that each feed-forward keeps");
  field("of", config.of, whose, "whose: the routed experts', the dense feed-forwards', or the shared experts'");
  field("by", config.by, rules,
        "which: those whose weights' norms have the largest product, of a recorded use those with the largest mean of "
        "|a| "
        "or of a^2, a being what the last matrix multiplies, or some at random (--seed)");
  visit_use(config.recorded, field);
}

/// One feed-forward's matrix or bias, rows x columns from an element of the tensor on, of which one dim counts hidden
/// units.
struct Cut {
  const StoredWeights::Tensor* tensor = nullptr;
  int64_t first = 0, rows = 0, columns = 0;
  bool by_row = false;
};

/// Those of expert `expert` of E in that tensor, or of a dense feed-forward; nullopt: it has no hidden units.
std::optional<Cut> cut_of(const StoredWeights::Tensor& tensor, LayerPart part, int64_t expert) {
  if (part == LayerPart::kExperts) {
    const int64_t rows = tensor.shape[1], columns = tensor.shape[2];
    return Cut{&tensor, expert * rows * columns, rows, columns, tensor.name.ends_with(".down")};
  }
  if (tensor.shape.size() == 1) {
    if (tensor.name.ends_with(".down.bias")) return {};
    return Cut{&tensor, 0, tensor.shape[0], 1, true};
  }
  return Cut{&tensor, 0, tensor.shape[0], tensor.shape[1], !tensor.name.ends_with(".down.weight")};
}

/// The squared norm of each hidden unit's weights.
std::vector<double> unit_norms(const Parent& parent, const Cut& cut) {
  std::vector<double> values(static_cast<size_t>(cut.rows * cut.columns));
  parent.weights->read(cut.tensor->name, {cut.first, cut.rows * cut.columns}, values.data());
  std::vector<double> norms(static_cast<size_t>(cut.by_row ? cut.rows : cut.columns), 0.0);
  for (int64_t i = 0; i < cut.rows * cut.columns; ++i) {
    const double value = values[static_cast<size_t>(i)];
    norms[static_cast<size_t>(cut.by_row ? i / cut.columns : i % cut.columns)] += value * value;
  }
  return norms;
}

struct Narrowing {
  const NarrowConfig& config;
  const Parent& parent;
  Owner owner;
  UnitRule rule;
  std::optional<RecordedUse> use;
};

/// What of a block is narrowed: tensors that count hidden units, and so many feed-forwards in each.
struct Units {
  std::vector<const StoredWeights::Tensor*> tensors;
  int64_t experts = 1, hidden = 0;
};

/// Empty: the block has none of these.
Units units_of(const Narrowing& n, const ExpertBlock& block) {
  Units units;
  const std::string prefix = block.prefix + n.owner.place;
  std::set<std::string> names;  // adapters are not cut
  for (const std::string matrix : {"gate", "up", "down"}) {
    if (n.owner.part == LayerPart::kExperts) names.insert(prefix + matrix);
    if (n.owner.part != LayerPart::kExperts) names.insert({prefix + matrix + ".weight", prefix + matrix + ".bias"});
  }
  for (const StoredWeights::Tensor& tensor : n.parent.weights->tensors()) {
    if (names.contains(tensor.name)) units.tensors.push_back(&tensor);
  }
  if (units.tensors.empty()) return units;
  if (n.owner.part == LayerPart::kExperts) {
    const moetrain::ExpertRange& kind = block.kinds.front();
    if (block.kinds.size() > 1 || kind.kind != "feed_forward" || !kind.suffix.empty()) {
      user_error("block ", block.number, " of ", n.parent.place, " has the experts \"", block.moe->expert,
                 "\"; narrow keeps hidden units of feed-forwards; legal: expert = \"feed_forward\"");
    }
    units.experts = kind.count;
    units.hidden = kind.hidden;
  } else {
    units.hidden = n.owner.part == LayerPart::kDense ? n.parent.recipe.model.ffn_hidden : block.moe->shared_hidden;
  }
  if (n.config.hidden < 1 || n.config.hidden >= units.hidden) {
    user_error("hidden = ", n.config.hidden, ", and the ", n.config.of, " of block ", block.number, " have ",
               units.hidden, " hidden units; legal: 1 to ", units.hidden - 1);
  }
  return units;
}

/// How much each of one feed-forward's units is worth.
std::vector<double> worth_of(const Narrowing& n, const ExpertBlock& block, const Units& units, int64_t expert) {
  if (n.use) return n.use->units(block, n.owner.part, n.rule.recorded, expert);
  std::vector<double> worth(static_cast<size_t>(units.hidden), 1.0);
  if (n.rule.drawn) {
    const parallel::RandomStream stream(static_cast<uint64_t>(n.parent.recipe.run.seed),
                                        parallel::concat("kept units, ", n.owner.place, expert), block.number);
    for (int64_t unit = 0; unit < units.hidden; ++unit) worth[static_cast<size_t>(unit)] = stream.uniform(unit);
    return worth;
  }
  for (const StoredWeights::Tensor* tensor : units.tensors) {
    const auto cut = cut_of(*tensor, n.owner.part, expert);
    if (!cut || cut->columns == 1) continue;  // a bias says nothing of strength
    const std::vector<double> norms = unit_norms(n.parent, *cut);
    for (size_t unit = 0; unit < norms.size(); ++unit) worth[unit] *= norms[unit];
  }
  return worth;
}

/// With the kept units of each feed-forward in it, in order.
MadeTensor narrowed(const StoredWeights::Tensor& tensor, const Owner& owner,
                    const std::vector<std::vector<int64_t>>& kept) {
  MadeTensor made{tensor, {}};
  const auto count = std::ssize(kept.front());
  const auto first = cut_of(tensor, owner.part, 0);
  if (!first) return same_tensor(tensor);
  if (owner.part != LayerPart::kExperts) {
    const size_t dim = first->by_row ? 0 : 1;
    made.of.shape[dim] = count;
    std::vector<int64_t> strides{first->columns};
    if (tensor.shape.size() == 2) strides.push_back(1);
    made.slabs.push_back(
        {.rows = made.of.shape.front(),
         .mean_of = {{.name = tensor.name, .strides = strides, .chosen_dim = dim, .chosen = kept.front()}}});
    return made;
  }
  const size_t dim = first->by_row ? 1 : 2;
  made.of.shape[dim] = count;
  for (int64_t expert = 0; expert < std::ssize(kept); ++expert) {
    made.slabs.push_back({.rows = 1,
                          .mean_of = {{.name = tensor.name,
                                       .first = cut_of(tensor, owner.part, expert)->first,
                                       .strides = {0, first->columns, 1},
                                       .chosen_dim = dim,
                                       .chosen = kept[static_cast<size_t>(expert)]}}});
  }
  return made;
}

void set_hidden(Recipe& recipe, LayerPart part, int64_t hidden) {
  if (part == LayerPart::kDense) {
    recipe.model.ffn_hidden = hidden;
    return;
  }
  for (moetrain::MoeConfig* layer : feed_forward_layers(recipe)) {
    if (part == LayerPart::kExperts) {
      layer->hidden = hidden;
    } else if (layer->shared_hidden > 0) {
      layer->shared_hidden = hidden;
    }
  }
}

Offspring plan_narrow(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<NarrowConfig>();
  const Parent& parent = parents.front();
  Narrowing n{config, parent, owners().at(config.of), unit_rules().at(config.by), {}};
  if (n.rule.recorded != nullptr) n.use.emplace(config.recorded, parent);
  const double bound = n.use ? recorded_bound(parent.recipe) : 0.0;
  ChangedTensors changed;
  for (const ExpertBlock& block : expert_blocks_of(parent.recipe)) {
    if (block.slot != moetrain::Slot::kFeedForward) continue;
    const Units units = units_of(n, block);
    if (units.tensors.empty()) continue;
    std::vector<std::vector<int64_t>> kept;
    for (int64_t expert = 0; expert < units.experts; ++expert) {
      kept.push_back(largest(worth_of(n, block, units, expert), config.hidden, bound));
    }
    for (const StoredWeights::Tensor* tensor : units.tensors) {
      changed[tensor->name] = {narrowed(*tensor, n.owner, kept)};
    }
  }
  if (changed.empty()) {
    user_error(parent.place, " has no block with ", config.of,
               n.owner.part == LayerPart::kDense ? " feed-forwards" : "",
               n.owner.part == LayerPart::kShared ? " experts" : "", "; legal: a model that has some, or another of");
  }
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  set_hidden(made.recipe, n.owner.part, config.hidden);
  made.tensors = tensors_with(parent, changed);
  return made;
}

}  // namespace

Operation narrow_operation() {
  return {.sentence = "feed-forwards keep their strongest hidden units, bit for bit",
          .keys = parallel::own_keys_of<NarrowConfig>,
          .plan = plan_narrow};
}

}  // namespace launch
