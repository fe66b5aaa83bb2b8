// A dense model becomes a mixture (Komatsuzaki et al. 2023, sparse upcycling; He et al. 2024 for narrow experts).
#include <algorithm>

#include "launch/surgery/expert_rows.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

// D width, F hidden units, E copies, g parts of each

struct CopyConfig {
  std::string layers = "all";
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t parts = 1;
  double noise = 0.0;
  double router_std = 0.02;
  std::string table;
};

template <class Visitor>
void visit(CopyConfig& config, Visitor& field) {
  using namespace parallel;
  field("layers", config.layers, anything(), "blocks that get experts, as moe.layers names them");
  field("experts", config.experts, between(1, 1 << 16), "copies of the dense feed-forward in each");
  field("top_k", config.top_k, between(1, 1 << 10), "copies per token");
  field(
      "parts", config.parts, between(1, 1 << 12),
      "g: each copy is cut into g experts of hidden / g units, so that moe.experts and moe.top_k are g times as many");
  field("noise", config.noise, at_least(0),
        "standard deviation of what is added to each weight of each copy; 0: copies");
  field("router_std", config.router_std, at_least(0), "of the router's weights, which are drawn");
  field("table", config.table, anything(),
        "skills of tasks instead of a learned router: as moe.task_table.experts, such as \"en: 0,1; de: 0,2\"");
}

void check_parts(const CopyConfig& config, int64_t hidden) {
  if (config.top_k > config.experts) {
    user_error("top_k = ", config.top_k, " with experts = ", config.experts, "; legal: top_k = 1 to ", config.experts);
  }
  if (config.parts > 1 && !config.table.empty()) {
    user_error("parts = ", config.parts, " with table = \"", config.table,
               "\", whose skills are whole copies; legal: ", "parts = 1");
  }
  if (hidden % config.parts == 0) return;
  int64_t below = config.parts;
  while (hidden % below != 0) --below;
  user_error("parts = ", config.parts, " does not divide model.ffn_hidden = ", hidden, "; nearest legal: ", below);
}

/// [E g, D, F / g] or, of `down`, [E g, F / g, D]: expert c g + p is part p of copy c. A chosen copy's g parts have a
/// gate of 1 / g of the copy's each, which `down` makes up for.
MadeTensor experts_of(const StoredWeights::Tensor& dense, const std::string& name, bool down,
                      const CopyConfig& config) {
  const int64_t hidden = dense.shape[down ? 1 : 0], width = dense.shape[down ? 0 : 1], part = hidden / config.parts;
  MadeTensor made{dense, {}};
  made.of.name = name;
  made.of.shape = {config.experts * config.parts, down ? part : width, down ? width : part};
  for (int64_t expert = 0; expert < config.experts * config.parts; ++expert) {
    const int64_t first_unit = expert % config.parts * part;
    Taken taken{.name = dense.name};
    taken.first = down ? first_unit : first_unit * width;
    taken.strides = down ? std::vector<int64_t>{0, 1, hidden} : std::vector<int64_t>{0, 1, width};
    made.slabs.push_back(
        {.rows = 1, .mean_of = {taken}, .scale = down ? static_cast<double>(config.parts) : 1.0, .std = config.noise});
  }
  return made;
}

/// [E g, D]; the parts of one copy have the same row, so that they are chosen together.
MadeTensor router_of(const ExpertBlock& block, const StoredWeights::Tensor& like, int64_t width,
                     const CopyConfig& config) {
  MadeTensor made{{block.prefix + "moe.router.weight", {config.experts * config.parts, width}, like.dtype}, {}};
  for (int64_t expert = 0; expert < config.experts * config.parts; ++expert) {
    made.slabs.push_back({.rows = 1, .std = config.router_std, .first_draw = expert / config.parts * width});
  }
  return made;
}

Offspring plan_copy(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<CopyConfig>();
  const Parent& parent = parents.front();
  const std::vector<ExpertBlock> dense = expert_blocks_of(parent.recipe);
  check_dense(parent, dense, "copy");
  check_parts(config, parent.recipe.model.ffn_hidden);
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  moetrain::MoeConfig& moe = made.recipe.moe;
  moe = {};
  moe.losses = parent.recipe.moe.losses;
  moe.layers = config.layers;
  moe.experts = config.experts * config.parts;
  moe.top_k = config.top_k * config.parts;
  moe.hidden = parent.recipe.model.ffn_hidden / config.parts;
  if (!config.table.empty()) give_table(made.recipe, config.table);
  const std::vector<ExpertBlock> blocks = expert_blocks_of(made.recipe);
  if (std::ranges::none_of(blocks, [](const ExpertBlock& block) { return block.moe.has_value(); })) {
    user_error("layers = \"", config.layers,
               "\" leaves every block dense; legal: \"all\", \"odd\", \"every:3\", \"0,2\"");
  }
  std::map<std::string, const ExpertBlock*> turned;  // by the beginning of its dense tensors' names
  for (const ExpertBlock& block : blocks) {
    if (block.moe) turned[block.prefix + "feed_forward."] = &block;
  }
  for (const StoredWeights::Tensor& tensor : parent.weights->tensors()) {
    const auto found =
        std::ranges::find_if(turned, [&](const auto& each) { return tensor.name.starts_with(each.first); });
    if (found == turned.end()) {
      made.tensors.push_back(same_tensor(tensor));
      continue;
    }
    const std::string rest = tensor.name.substr(found->first.size());  // "up.weight"
    const std::string name = rest.substr(0, rest.find('.'));
    const ExpertBlock& block = *found->second;
    made.tensors.push_back(experts_of(tensor, block.prefix + "moe.experts." + name, name == "down", config));
    if (name == "up" && config.table.empty())
      made.tensors.push_back(router_of(block, tensor, parent.recipe.model.width, config));
  }
  return made;
}

}  // namespace

Operation copy_operation() {
  return {.sentence = "dense feed-forwards become experts, each a copy or a part of one: the same function",
          .keys = parallel::own_keys_of<CopyConfig>,
          .plan = plan_copy};
}

}  // namespace launch
