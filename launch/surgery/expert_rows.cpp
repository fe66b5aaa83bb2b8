#include "launch/surgery/expert_rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/expert_blocks.h"
#include "moetrain/routers/scores/scores.h"
#include "moetrain/routers/task_table.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

/// The routed experts of one layer by kind, as moe.expert spells them.
std::string spelt_kinds(const std::vector<moetrain::ExpertRange>& kinds, const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t k = 0; k < kinds.size(); ++k) {
    if (numbers[k] == 0) continue;
    text += (text.empty() ? "" : ",") + kinds[k].kind;
    if (!kinds[k].suffix.empty()) text += "(" + std::to_string(kinds[k].hidden) + ")";
    if (kinds.size() > 1) text += ":" + std::to_string(numbers[k]);
  }
  return text;
}

std::vector<int64_t> numbers_of_kinds(const std::vector<moetrain::ExpertRange>& kinds,
                                      const std::vector<int64_t>& chosen) {
  std::vector<int64_t> numbers(kinds.size(), 0);
  for (const int64_t expert : chosen) {
    size_t kind = kinds.size() - 1;
    for (size_t k = 0; expert >= 0 && k < kinds.size(); ++k) {
      if (kinds[k].first <= expert && expert < kinds[k].first + kinds[k].count) kind = k;
    }
    ++numbers[kind];
  }
  return numbers;
}

/// A table of tasks names its experts by number.
void check_numbers(const ExpertBlock& block, const std::vector<int64_t>& chosen) {
  if (block.moe->router != "task_table") return;
  for (int64_t number = 0; number < std::ssize(chosen); ++number) {
    const int64_t before = chosen[static_cast<size_t>(number)];
    if (before < 0 || before == number) continue;
    user_error("block ", block.number, ": expert ", before, " would become number ", number,
               ", and moe.task_table goes by numbers; legal: the first experts kept, such as list=0,1");
  }
}

void set_experts_of(moetrain::MoeConfig& config, const std::vector<ExpertBlock>& blocks, const ChosenExperts& chosen) {
  std::vector<int64_t> experts;
  std::optional<std::string> expert;
  for (const ExpertBlock& block : blocks) {
    if (!block.moe || block.moe->name != config.name) continue;
    if (!config.expert_weights.empty()) {
      user_error("the experts of block ", block.number, " share weights (", section_of(config),
                 ".expert_weights); legal: --operation separate before");
    }
    const std::vector<int64_t>& own = chosen.at(block.place());
    check_numbers(block, own);
    experts.push_back(std::ssize(own));
    const std::string text = spelt_kinds(block.kinds, numbers_of_kinds(block.kinds, own));
    if (expert && *expert != text) {
      user_error("block ", block.number, " would have the experts \"", text, "\", and a block before \"", *expert,
                 "\", but ", section_of(config), ".expert says one text for all; legal: as many of each kind in each");
    }
    expert = text;
  }
  if (!expert) return;
  keep_hidden_width(config);
  config.expert = *expert;
  const bool equal = std::ranges::count(experts, experts.front()) == std::ssize(experts);
  config.experts = experts.front();
  config.experts_by_layer = equal ? std::vector<int64_t>() : experts;
}

}  // namespace

std::vector<ExpertBlock> expert_blocks_of(const Recipe& recipe) {
  using moetrain::Slot;
  const int64_t count = moetrain::total_blocks(recipe.model);
  const auto layers = moetrain::layer_configs(recipe.moe, count);
  const auto modules = moetrain::layer_configs(recipe.moe, count, Slot::kAttention);
  std::vector<ExpertBlock> blocks;
  for (const moetrain::StackShape& stack : recipe.model_preset().stacks(recipe.model)) {
    for (int64_t i = 0; i < stack.blocks; ++i) {
      const auto number = static_cast<size_t>(stack.first_layer + i);
      const auto add = [&](Slot slot, const std::optional<moetrain::MoeConfig>& moe) {
        ExpertBlock block{.number = stack.first_layer + i,
                          .slot = slot,
                          .prefix = stack.name + "." + std::to_string(i) + ".",
                          .moe = moe,
                          .kinds = {}};
        if (moe) block.kinds = moetrain::expert_ranges(*moe, recipe.registry->experts);
        blocks.push_back(std::move(block));
      };
      if (modules.at(number)) add(Slot::kAttention, modules[number]);
      add(Slot::kFeedForward, layers.at(number));
    }
  }
  return blocks;
}

std::vector<ExpertTensor> expert_tensors(const Parent& parent, const ExpertBlock& block) {
  const std::string router = block.layer() + "router.", experts = block.layer() + "experts.";
  const moetrain::ModelConfig& model = parent.recipe.model;
  const bool latent = block.moe->latent > 0;
  // As TransformerBlock has it: what writes to the residual stream begins smaller.
  const double output_std = model.init_std / std::sqrt(2.0 * static_cast<double>(model.layers));
  const moetrain::ExpertShape shape{.width = latent ? block.moe->latent : model.width,
                                    .activation = model.activation,
                                    .std = model.init_std,
                                    .output_std = latent ? model.init_std : output_std};
  struct OfRange {
    const moetrain::ExpertRange* range;
    double std;
  };
  std::map<std::string, OfRange> range_of;
  for (const moetrain::ExpertRange& range : block.kinds) {
    for (const auto& weight : range.preset->weights(moetrain::part_of(range, shape), *block.moe)) {
      range_of[experts + weight.name + range.suffix] = {&range, weight.std};
    }
  }
  std::vector<ExpertTensor> all;
  for (const StoredWeights::Tensor& tensor : parent.weights->tensors()) {
    if (const auto found = range_of.find(tensor.name); found != range_of.end()) {
      const OfRange& of = found->second;
      all.push_back({.tensor = &tensor, .first = of.range->first, .count = of.range->count, .std = of.std});
    } else if (tensor.name.starts_with(router)) {
      const std::string name = tensor.name.substr(router.size());
      if (name == "hidden") continue;  // of a router of two layers: what all experts' rows see
      if (name != "weight" && name != "bias" && name != "noise_weight") {
        user_error(
            "block ", block.number, ": the router \"", block.moe->router, "\" has '", tensor.name,
            "', whose rows are not experts'; legal: a router of linear scores or mlp, without gating_residual and "
            "task_bias");
      }
      all.push_back({.tensor = &tensor, .count = block.moe->experts, .of_router = true});
    }
  }
  return all;
}

void set_experts(Recipe& recipe, const std::vector<ExpertBlock>& blocks, const ChosenExperts& chosen) {
  set_experts_of(recipe.moe, blocks, chosen);
  for (moetrain::MoeConfig& layer : recipe.moe.named) set_experts_of(layer, blocks, chosen);
}

void give_table(Recipe& recipe, const std::string& table) {
  moetrain::MoeConfig& moe = recipe.moe;
  moe.router = "task_table";
  moe.gate = moetrain::Gate::kHard;
  moe.losses["load_balance"] = moe.losses["router_z"] = 0;
  moe.own<moetrain::TaskTableConfig>().experts = table;
  if (!recipe.tasks.names.empty()) return;
  for (const std::string& task : moetrain::tasks_of_table(moe)) {
    recipe.tasks.names += (recipe.tasks.names.empty() ? "" : ", ") + task;
  }
}

void check_dense(const Parent& parent, const std::vector<ExpertBlock>& blocks, const char* operation) {
  for (const ExpertBlock& block : blocks) {
    if (!block.moe) continue;
    user_error(parent.place, ": block ", block.number, " has ", block.moe->experts, " experts already; ", operation,
               " makes experts of dense blocks; legal: a dense model, or --operation grow");
  }
  if (parent.recipe.model.ffn_bias) {
    user_error(parent.place, ": model.ffn_bias = true, and experts have no biases; legal: model.ffn_bias = false");
  }
}

std::vector<moetrain::MoeConfig*> layers_of(Recipe& recipe, const std::vector<ExpertBlock>& blocks) {
  std::vector<moetrain::MoeConfig*> layers;
  const auto add = [&](moetrain::MoeConfig& layer) {
    const bool holds = std::ranges::any_of(
        blocks, [&](const ExpertBlock& block) { return block.moe && block.moe->name == layer.name; });
    if (holds) layers.push_back(&layer);
  };
  add(recipe.moe);
  for (moetrain::MoeConfig& layer : recipe.moe.named) add(layer);
  return layers;
}

std::vector<moetrain::MoeConfig*> feed_forward_layers(Recipe& recipe) {
  std::vector<ExpertBlock> blocks = expert_blocks_of(recipe);
  std::erase_if(blocks, [](const ExpertBlock& block) { return block.slot != moetrain::Slot::kFeedForward; });
  return layers_of(recipe, blocks);
}

void keep_hidden_width(moetrain::MoeConfig& config) {
  auto& mlp = config.own<moetrain::MlpConfig>();
  if (config.router != "mlp" || mlp.hidden > 0) return;
  if (!config.experts_by_layer.empty()) {
    user_error(section_of(config),
               ".router = \"mlp\" with experts_by_layer has hidden layers of several widths; legal: a ",
               "parent trained with [", section_of(config), ".mlp] hidden");
  }
  mlp.hidden = 8 * moetrain::expert_kinds(config).total();
}

MadeTensor same_tensor(const StoredWeights::Tensor& tensor, size_t parent) {
  return {tensor, {rows_of(tensor, 0, tensor.shape.front(), parent)}};
}

std::vector<MadeTensor> tensors_with(const Parent& parent, const ChangedTensors& changed) {
  std::vector<MadeTensor> tensors;
  for (const StoredWeights::Tensor& tensor : parent.weights->tensors()) {
    const auto found = changed.find(tensor.name);
    if (found == changed.end()) {
      tensors.push_back(same_tensor(tensor));
    } else {
      tensors.insert(tensors.end(), found->second.begin(), found->second.end());
    }
  }
  return tensors;
}

Slab rows_of(const StoredWeights::Tensor& tensor, int64_t first, int64_t count, size_t parent) {
  const int64_t row = tensor.elements() / tensor.shape.front();
  return {.rows = count, .mean_of = {{.parent = parent, .name = tensor.name, .first = first * row}}};
}

std::vector<int64_t> number_list(const std::string& text, int64_t end, const std::string& place) {
  std::vector<int64_t> numbers;
  const char* at = text.data();
  const char* const last = at + text.size();
  while (true) {
    while (at != last && *at == ' ') ++at;
    int64_t number = 0;
    const auto [next, error] = std::from_chars(at, last, number);
    const bool comma = next != last && *next == ',';
    if (error != std::errc() || (next != last && !comma))
      user_error(place, ": \"", text, "\" is no list such as 0,2,5");
    if (number < 0 || number >= end) user_error(place, ": there is no ", number, "; legal: 0 to ", end - 1);
    if (std::ranges::count(numbers, number) > 0) user_error(place, ": ", number, " stands there twice");
    numbers.push_back(number);
    if (!comma) break;
    at = next + 1;
  }
  std::ranges::sort(numbers);
  return numbers;
}

}  // namespace launch
