// Experts are added to a mixture (ModuleFormer's insertion, Shen et al. 2023).
#include <algorithm>
#include <numeric>

#include "launch/surgery/expert_rows.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

struct GrowConfig {
  int64_t experts = 1;
  std::string copies;
  double noise = 0.0;
  double router_std = 0.02;
  bool closed = false;
  bool apart = false;
};

template <class Visitor>
void visit(GrowConfig& config, Visitor& field) {
  using namespace parallel;
  field("experts", config.experts, between(1, 1 << 16), "how many more in each block that has some");
  field("copies", config.copies, anything(),
        "of which experts the new ones are copies, in turn, such as \"0,2\"; empty: drawn as those of a new model");
  field("noise", config.noise, at_least(0), "standard deviation of what is added to each weight of a copy");
  field("router_std", config.router_std, at_least(0), "of their router rows, which are drawn");
  field("closed", config.closed, anything(),
        "their router rows are 0 and their bias so low that no token chooses them: the same function, until the bias "
        "is raised");
  field("apart", config.apart, anything(),
        "they are of a kind of their own in moe.expert, so that their weights are parameters of their own, which "
        "train.frozen tells from the others'");
}

// exp of it is 0 in every type, and float16 holds it.
constexpr double kClosed = -30000;

/// New rows for one tensor of a block's experts.
std::vector<Slab> new_rows(const ExpertTensor& from, const ExpertBlock& block, const GrowConfig& config) {
  const StoredWeights::Tensor& tensor = *from.tensor;
  if (from.of_router) {
    const bool bias = tensor.shape.size() == 1;
    return {{.rows = config.experts,
             .constant = bias && config.closed ? kClosed : 0.0,
             .std = bias || config.closed ? 0.0 : config.router_std}};
  }
  if (!config.copies.empty()) {
    const auto copied = number_list(config.copies, from.count, parallel::concat("copies, block ", block.number));
    std::vector<Slab> rows;
    for (int64_t i = 0; i < config.experts; ++i) {
      rows.push_back(rows_of(tensor, copied[static_cast<size_t>(i) % copied.size()], 1));
      rows.back().std = config.noise;
    }
    return rows;
  }
  return {{.rows = config.experts, .std = from.std}};
}

/// How the names of weights of experts apart end.
std::string suffix_of(const ExpertBlock& block) { return "_" + std::to_string(block.kinds.front().hidden); }

/// New weights beside the old ones, which stay.
std::vector<MadeTensor> grown_apart(const ExpertTensor& from, const ExpertBlock& block, const GrowConfig& config) {
  MadeTensor added{*from.tensor, new_rows(from, block, config)};
  added.of.name += suffix_of(block);
  added.of.shape.front() = config.experts;
  return {same_tensor(*from.tensor), added};
}

/// What `experts` apart make of moe.expert.
void name_apart(moetrain::MoeConfig& config, const GrowConfig& grown) {
  if (!config.experts_by_layer.empty()) {
    user_error(section_of(config), ".experts_by_layer with apart = true: ", section_of(config),
               ".expert says one text for all its blocks; legal: apart = false");
  }
  const std::string kind = config.expert;
  config.expert =
      parallel::concat(kind, ":", config.experts - grown.experts, ",", kind, "(", config.hidden, "):", grown.experts);
}

MadeTensor grown(const ExpertTensor& from, const ExpertBlock& block, const GrowConfig& config) {
  MadeTensor made{*from.tensor, {rows_of(*from.tensor, 0, from.count)}};
  for (Slab& rows : new_rows(from, block, config)) made.slabs.push_back(std::move(rows));
  const int64_t behind = from.tensor->shape.front() - from.count;
  if (behind > 0) made.slabs.push_back(rows_of(*from.tensor, from.count, behind));
  made.of.shape.front() += config.experts;
  return made;
}

/// Of a router that had none: 0 for all but the new ones.
MadeTensor new_bias(const MadeTensor& weight, const ExpertTensor& from, const ExpertBlock& block,
                    const GrowConfig& config) {
  MadeTensor bias{weight.of, {{.rows = from.count}, {.rows = config.experts, .constant = kClosed}}};
  bias.of.name = block.layer() + "router.bias";
  bias.of.shape = {weight.of.shape.front()};
  const int64_t behind = weight.of.shape.front() - from.count - config.experts;
  if (behind > 0) bias.slabs.push_back({.rows = behind});
  return bias;
}

Offspring plan_grow(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<GrowConfig>();
  const Parent& parent = parents.front();
  const std::vector<ExpertBlock> blocks = expert_blocks_of(parent.recipe);
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  ChosenExperts experts;
  ChangedTensors changed;
  for (const ExpertBlock& block : blocks) {
    if (!block.moe) continue;
    if (block.kinds.size() > 1) {
      user_error("block ", block.number, " of ", parent.place, " has experts of several kinds, \"", block.moe->expert,
                 "\"; grow knows not of which the new ones are; legal: a model with one kind in each block");
    }
    if (config.apart && !block.kinds.front().suffix.empty()) {
      user_error("block ", block.number, " of ", parent.place, " has the experts \"", block.moe->expert,
                 "\", which have a width of their own already; legal: apart = false");
    }
    std::vector<int64_t>& own = experts[block.place()];
    own.resize(static_cast<size_t>(block.moe->experts + config.experts), -1);
    std::iota(own.begin(), own.begin() + block.moe->experts, int64_t{0});
    const std::vector<ExpertTensor> tensors = expert_tensors(parent, block);
    const bool has_bias = std::ranges::any_of(
        tensors, [](const ExpertTensor& each) { return each.of_router && each.tensor->shape.size() == 1; });
    for (const ExpertTensor& tensor : tensors) {
      std::vector<MadeTensor>& of = changed[tensor.tensor->name];
      if (config.apart && !tensor.of_router) {
        of = grown_apart(tensor, block, config);
        continue;
      }
      of.push_back(grown(tensor, block, config));
      const bool is_weight = tensor.of_router && tensor.tensor->name.ends_with(".weight");
      if (config.closed && is_weight && !has_bias) of.push_back(new_bias(of.front(), tensor, block, config));
    }
    if (config.closed && !has_bias) {
      for (moetrain::MoeConfig* layer : layers_of(made.recipe, {block})) layer->router_bias = true;
    }
  }
  if (experts.empty()) user_error(parent.place, " has no block with experts; legal: a mixture, or --operation copy");
  set_experts(made.recipe, blocks, experts);
  if (config.apart) {
    for (moetrain::MoeConfig* layer : layers_of(made.recipe, blocks)) name_apart(*layer, config);
  }
  made.tensors = tensors_with(parent, changed);
  return made;
}

}  // namespace

Operation grow_operation() {
  return {.sentence = "more experts, copied or drawn, and router rows for them",
          .keys = parallel::own_keys_of<GrowConfig>,
          .plan = plan_grow};
}

}  // namespace launch
