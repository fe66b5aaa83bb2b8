// Experts are the hidden units that a domain's text makes fire most, and one router at the model's entrance chooses
// among them for all layers (Read-ME, Cai et al. 2024).
#include <algorithm>
#include <cmath>
#include <optional>

#include "launch/surgery/recorded_use.h"
#include "moetrain/routers/scores/pre_gate.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/base/text_list.h"

namespace launch {
namespace {

using parallel::user_error;

// D width, F hidden units of a dense feed-forward, E experts, of which all share R units and each has P more; W width
// of the router

struct SelectConfig {
  std::string by = "mean";
  std::string domains;
  int64_t experts = 0;
  int64_t kept = 0;
  int64_t shared = -1;
  std::string table;
  double router_std = 0.02;
  moetrain::PreGateConfig router;
  UseConfig recorded;
};

/// Of a recorded use; null: drawn.
struct SelectRule {
  at::Tensor LayerUse::*recorded = nullptr;
};

parallel::NameTable<SelectRule> select_rules() {
  return {"way to select hidden units (by)",
          {{"mean", {&LayerUse::hidden_absolute_GRF}}, {"square", {&LayerUse::hidden_square_GRF}}, {"random", {}}}};
}

template <class Visitor>
void visit(SelectConfig& config, Visitor& field) {
  using namespace parallel;
  Legal rules = anything();
  rules.names = select_rules().names();
  field("by", config.by, rules,
        "which hidden units an expert keeps: those with the largest recorded mean of |a| or of a^2 over its domain's "
        "text, a being what the last matrix multiplies, or some at random (--seed)");
  field("use", config.recorded.use, anything(), "file of `moetrain evaluate IN --record FILE`, unless at random");
  field(
      "domains", config.domains, anything(),
      "of each expert the recorded use's groups whose text is its domain, such as \"en; de,fr\"; empty: one expert for "
      "each group");
  field("experts", config.experts, between(0, 1 << 16), "by = \"random\": how many");
  field("kept", config.kept, between(0, 1 << 24), "hidden units of an expert, shared ones too; 0: half of them");
  field("shared", config.shared, between(-1, 1 << 24),
        "of those, how many stand in the shared expert; -1: as many as all experts of each block have in common, so "
        "that 8 divides how many are left");
  field("table", config.table, anything(),
        "experts of tasks instead of the router: as moe.task_table.experts, such as \"en: 0; de: 1\"");
  field("router_layers", config.router.layers, between(1, 1000), "blocks of the router");
  field("router_width", config.router.width, between(2, 1 << 20),
        "its width; its embedding begins as the first so many columns of the model's");
  field("router_heads", config.router.heads, between(1, 4096), "its attention heads");
  field("router_hidden", config.router.hidden, between(1, 1 << 24), "hidden width of its feed-forwards");
  field("router_std", config.router_std, at_least(0), "of its other weights, which are drawn");
}

/// Of one block.
struct SelectedUnits {
  std::vector<std::vector<int64_t>> kept;  // of each expert, ascending
  std::vector<int64_t> common;             // those that all have
};

/// Says of each expert how much each hidden unit of a block is worth.
class UnitWorth {
 public:
  UnitWorth(const SelectConfig& config, const Parent& parent)
      : rule_(select_rules().at(config.by)), seed_(static_cast<uint64_t>(parent.recipe.run.seed)) {
    units_ = parent.recipe.model.ffn_hidden;
    if (rule_.recorded == nullptr) {
      experts_ = config.experts;
      if (experts_ < 2) user_error("by = \"random\" with experts = ", experts_, "; legal: at least 2");
      return;
    }
    if (config.experts != 0) {
      user_error("experts = ", config.experts, " with by = \"", config.by,
                 "\": there is one for each domain; legal: without it, or by = \"random\"");
    }
    UseConfig use = config.recorded;
    std::vector<std::string> domains;
    if (parallel::trimmed(config.domains).empty()) {
      domains = RecordedUse(use, parent).groups();
    } else {
      for (const std::string_view domain : parallel::split(config.domains, ';')) domains.emplace_back(domain);
    }
    for (const std::string& domain : domains) {
      use.groups = parallel::trimmed(domain);
      if (use.groups.empty()) {
        user_error("domains = \"", config.domains, "\" has one without a group; legal: \"en; de\"");
      }
      of_expert_.emplace_back(use, parent);
    }
    experts_ = std::ssize(of_expert_);
    if (experts_ < 2) {
      user_error("the recorded use has one domain, '", domains.front(),
                 "', and experts differ by theirs; legal: a use of ", "text in several groups, or by = \"random\"");
    }
  }

  int64_t experts() const { return experts_; }
  std::vector<double> of(const ExpertBlock& block, int64_t expert) const {
    if (rule_.recorded != nullptr) {
      return of_expert_[static_cast<size_t>(expert)].units(block, LayerPart::kDense, rule_.recorded, /*expert=*/0);
    }
    const parallel::RandomStream stream(seed_, parallel::concat("selected units of expert ", expert), block.number);
    std::vector<double> worth;
    for (int64_t unit = 0; unit < units_; ++unit) worth.push_back(stream.uniform(unit));
    return worth;
  }

 private:
  SelectRule rule_;
  uint64_t seed_;
  int64_t units_ = 0, experts_ = 0;
  std::vector<RecordedUse> of_expert_;
};

/// By block. UserError where the model has none to select from.
std::vector<SelectedUnits> selected_units(const SelectConfig& config, const Parent& parent,
                                          const std::vector<ExpertBlock>& blocks, int64_t kept) {
  const bool recorded = select_rules().at(config.by).recorded != nullptr;
  if (recorded && config.recorded.use == kUseOfSeam && config.shared < 0) {
    user_error(
        "shared = -1 with use = \"seam\": how many hidden units all experts have is not known before they are used",
        "; legal: a number, such as shared = 0");
  }
  const UnitWorth worth(config, parent);
  const double bound = recorded ? recorded_bound(parent.recipe) : 0.0;
  std::vector<SelectedUnits> all;
  for (const ExpertBlock& block : blocks) {
    SelectedUnits& own = all.emplace_back();
    for (int64_t expert = 0; expert < worth.experts(); ++expert) {
      own.kept.push_back(largest(worth.of(block, expert), kept, bound));
    }
    own.common = own.kept.front();
    for (const std::vector<int64_t>& other : own.kept) {
      std::vector<int64_t> both;
      std::ranges::set_intersection(own.common, other, std::back_inserter(both));
      own.common = std::move(both);
    }
  }
  return all;
}

int64_t shared_units(const SelectConfig& config, const std::vector<SelectedUnits>& units, int64_t kept) {
  int64_t most = kept - 1;  // an expert has one of its own
  for (const SelectedUnits& block : units) most = std::min<int64_t>(most, std::ssize(block.common));
  if (config.shared > most) {
    user_error("shared = ", config.shared, ", and the experts of one block have ", most, " hidden units in common",
               "; legal: 0 to ", most);
  }
  if (config.shared >= 0) return config.shared;
  const int64_t own = (kept - most + 7) / 8 * 8;
  return own <= kept ? kept - own : most;
}

std::vector<int64_t> without(const std::vector<int64_t>& units, const std::vector<int64_t>& others) {
  std::vector<int64_t> rest;
  std::ranges::set_difference(units, others, std::back_inserter(rest));
  return rest;
}

/// One matrix of a block's dense feed-forward in its experts and, where there is one, in the shared expert.
std::vector<MadeTensor> parts_of(const StoredWeights::Tensor& dense, const ExpertBlock& block, const std::string& name,
                                 const SelectedUnits& units, int64_t shared) {
  const bool down = name == "down";
  const int64_t hidden = dense.shape[down ? 1 : 0], width = dense.shape[down ? 0 : 1];
  const std::vector<int64_t> common(units.common.begin(), units.common.begin() + shared);
  const int64_t own = std::ssize(units.kept.front()) - shared;
  std::vector<MadeTensor> made(1, {dense, {}});
  made.front().of.name = block.prefix + "moe.experts." + name;
  made.front().of.shape = {std::ssize(units.kept), down ? own : width, down ? width : own};
  for (const std::vector<int64_t>& kept : units.kept) {
    made.front().slabs.push_back(
        {.rows = 1,
         .mean_of = {{.name = dense.name,
                      .strides = down ? std::vector<int64_t>{0, 1, hidden} : std::vector<int64_t>{0, 1, width},
                      .chosen_dim = down ? size_t{1} : size_t{2},
                      .chosen = without(kept, common)}}});
  }
  if (shared == 0) return made;
  MadeTensor& joint = made.emplace_back(MadeTensor{dense, {}});
  joint.of.name = block.prefix + "moe.shared." + name + ".weight";
  joint.of.shape[down ? 1 : 0] = shared;
  joint.slabs.push_back({.rows = joint.of.shape.front(),
                         .mean_of = {{.name = dense.name,
                                      .strides = {down ? hidden : width, 1},
                                      .chosen_dim = down ? size_t{1} : size_t{0},
                                      .chosen = common}}});
  return made;
}

/// The router's tensors, of PreGate's names and shapes.
std::vector<MadeTensor> router_of(const SelectConfig& config, const StoredWeights::Tensor& embedding,
                                  const std::vector<SelectedUnits>& units, int64_t hidden) {
  const moetrain::PreGateConfig& of = config.router;
  const int64_t W = of.width, F = of.hidden, experts = std::ssize(units.front().kept);
  if (W > embedding.shape[1]) {
    user_error("router_width = ", W, ", and its embedding begins as columns of the model's, which has ",
               embedding.shape[1], "; legal: 2 to ", embedding.shape[1]);
  }
  std::vector<MadeTensor> made;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape, Slab slab) {
    slab.rows = shape.front();
    made.push_back({{"pre_gate." + name, shape, embedding.dtype}, {std::move(slab)}});
  };
  add("embedding", {embedding.shape[0], W},
      {.mean_of = {{.name = embedding.name, .strides = {embedding.shape[1], 1}}}});
  const double output_std = config.router_std / std::sqrt(2.0 * static_cast<double>(of.layers));
  for (int64_t layer = 0; layer < of.layers; ++layer) {
    const std::string block = parallel::concat("blocks.", layer, ".");
    for (const char* norm : {"attention_norm", "ffn_norm"}) add(block + norm, {W}, {.constant = 1});
    for (const char* matrix : {"query", "key", "value"}) add(block + matrix, {W, W}, {.std = config.router_std});
    add(block + "output", {W, W}, {.std = output_std});
    for (const char* matrix : {"gate", "up"}) add(block + matrix, {F, W}, {.std = config.router_std});
    add(block + "down", {W, F}, {.std = output_std});
  }
  add("norm", {W}, {.constant = 1});
  add("weight", {experts, W}, {.std = config.router_std});
  MadeTensor own{{"pre_gate.private", {std::ssize(units), experts, hidden}, embedding.dtype, /*is_buffer=*/true}, {}};
  if (own.of.dtype != "F64") own.of.dtype = "F32";
  for (const SelectedUnits& block : units) {
    Slab slab{.rows = 1, .values = std::vector<double>(static_cast<size_t>(experts * hidden), 0.0)};
    for (int64_t expert = 0; expert < experts; ++expert) {
      for (const int64_t unit : without(block.kept[static_cast<size_t>(expert)], block.common)) {
        slab.values[static_cast<size_t>(expert * hidden + unit)] = 1;
      }
    }
    own.slabs.push_back(std::move(slab));
  }
  made.push_back(std::move(own));
  return made;
}

void set_layers(Recipe& recipe, const SelectConfig& config, int64_t experts, int64_t kept, int64_t shared) {
  const int64_t hidden = recipe.model.ffn_hidden;
  moetrain::MoeConfig& moe = recipe.moe;
  const auto losses = std::exchange(moe, {}).losses;
  moe.losses = losses;
  moe.losses["load_balance"] = moe.losses["router_z"] = 0;
  moe.experts = experts;
  moe.top_k = 1;
  moe.gate = moetrain::Gate::kHard;
  moe.hidden = kept - shared;
  moe.shared_hidden = shared;
  moe.shared_gate = false;
  if (!config.table.empty()) return give_table(recipe, config.table);
  moe.router = "pre_gated";
  moe.own<moetrain::PreGateConfig>() = config.router;
  moe.own<moetrain::PreGateConfig>().units = hidden;
}

Offspring plan_select(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<SelectConfig>();
  const Parent& parent = parents.front();
  const std::vector<ExpertBlock> blocks = expert_blocks_of(parent.recipe);
  check_dense(parent, blocks, "select");
  const int64_t hidden = parent.recipe.model.ffn_hidden, kept = config.kept > 0 ? config.kept : hidden / 2;
  if (kept > hidden || kept < 1) {
    user_error("kept = ", kept, ", and the feed-forwards of ", parent.place, " have ", hidden,
               " hidden units; legal: 1 to ", hidden);
  }
  const std::vector<SelectedUnits> units = selected_units(config, parent, blocks, kept);
  const int64_t shared = shared_units(config, units, kept);
  ChangedTensors changed;
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (const std::string name : {"gate", "up", "down"}) {
      const std::string dense = blocks[b].prefix + "feed_forward." + name + ".weight";
      const auto found = std::ranges::find(parent.weights->tensors(), dense, &StoredWeights::Tensor::name);
      if (found != parent.weights->tensors().end()) {
        changed[dense] = parts_of(*found, blocks[b], name, units[b], shared);
      }
    }
  }
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  set_layers(made.recipe, config, std::ssize(units.front().kept), kept, shared);
  made.tensors = tensors_with(parent, changed);
  if (!config.table.empty()) return made;
  const auto embedding = std::ranges::find(parent.weights->tensors(), "embedding.weight", &StoredWeights::Tensor::name);
  if (embedding == parent.weights->tensors().end())
    user_error(parent.place, " embeds no tokens; legal: a language model");
  for (MadeTensor& tensor : router_of(config, *embedding, units, hidden)) made.tensors.push_back(std::move(tensor));
  return made;
}

}  // namespace

Operation select_operation() {
  return {.sentence =
              "dense feed-forwards become experts that each keep the hidden units of a domain, behind one router "
              "at the model's entrance",
          .keys = parallel::own_keys_of<SelectConfig>,
          .plan = plan_select};
}

}  // namespace launch
