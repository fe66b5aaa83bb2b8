// Experts are left out. By use: Z-code M3 (Kim et al. 2021, 5.2); by the norm of router rows: Chowdhury et al. 2024.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "launch/surgery/recorded_use.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/base/text_list.h"

namespace launch {
namespace {

using parallel::user_error;

struct PruneConfig {
  std::string by = "list";
  std::string list;
  int64_t kept = 0;
  int64_t top_k = 0;
  UseConfig recorded;
};

/// Of each routed expert of a block how much it is worth; the largest are kept, of equal ones the first.
struct Choosing {
  const PruneConfig& config;
  const Parent& parent;
  const std::vector<ExpertBlock>& blocks;
  const ExpertBlock& block;
  int64_t layer = 0;  // among the blocks with experts
  const std::optional<RecordedUse>& use;
};
using Worth = std::vector<double> (*)(const Choosing& choosing);

int64_t layers_with_experts(const std::vector<ExpertBlock>& blocks) {
  return std::ranges::count_if(blocks, [](const ExpertBlock& block) { return block.moe.has_value(); });
}

std::vector<double> worth_by_list(const Choosing& c) {
  const std::vector<std::string_view> lists = parallel::split(c.config.list, ';');
  const int64_t layers = layers_with_experts(c.blocks);
  if (std::ssize(lists) != 1 && std::ssize(lists) != layers) {
    user_error("list = \"", c.config.list, "\" is ", lists.size(), " lists, and ", layers,
               " blocks have experts; legal: one for all, or one for each with semicolons between");
  }
  const std::string own(lists.size() == 1 ? lists.front() : lists[static_cast<size_t>(c.layer)]);
  std::vector<double> worth(static_cast<size_t>(c.block.moe->experts), 0.0);
  if (parallel::trimmed(own, " ").empty()) return worth;
  const std::string place = parallel::concat("list, block ", c.block.number);
  for (const int64_t expert : number_list(own, c.block.moe->experts, place)) worth[static_cast<size_t>(expert)] = 1;
  return worth;
}

std::vector<double> worth_by_recorded(const Choosing& c, at::Tensor LayerUse::*of) {
  const at::Tensor sum_E = c.use->sum(c.block, LayerPart::kExperts, of).contiguous();
  return {sum_E.const_data_ptr<double>(), sum_E.const_data_ptr<double>() + c.block.moe->experts};
}

std::vector<double> worth_by_use(const Choosing& c) { return worth_by_recorded(c, &LayerUse::chosen_GE); }

std::vector<double> worth_by_gates(const Choosing& c) { return worth_by_recorded(c, &LayerUse::gates_GE); }

std::vector<double> worth_by_norm(const Choosing& c) {
  const std::string name = c.block.layer() + "router.weight";
  const auto& tensors = c.parent.weights->tensors();
  const auto found = std::ranges::find(tensors, name, &StoredWeights::Tensor::name);
  if (found == tensors.end()) user_error("by = \"norm\": block ", c.block.number, " has no '", name, "'");
  const int64_t row = found->shape.at(1);
  std::vector<double> worth, weights(static_cast<size_t>(row));
  for (int64_t expert = 0; expert < c.block.moe->experts; ++expert) {
    c.parent.weights->read(name, {expert * row, row}, weights.data());
    worth.push_back(std::sqrt(std::inner_product(weights.begin(), weights.end(), weights.begin(), 0.0)));
  }
  return worth;
}

std::vector<double> worth_at_random(const Choosing& c) {
  const bool attention = c.block.slot == moetrain::Slot::kAttention;
  const parallel::RandomStream stream(static_cast<uint64_t>(c.parent.recipe.run.seed),
                                      attention ? "pruned modules" : "pruned experts", c.block.number);
  std::vector<double> worth;
  for (int64_t expert = 0; expert < c.block.moe->experts; ++expert) worth.push_back(stream.uniform(expert));
  return worth;
}

struct PruneRule {
  Worth worth;
  bool counted = true;    // `kept` says how many; else those worth more than 0
  bool recorded = false;  // of a recorded use
};

parallel::NameTable<PruneRule> prune_rules() {
  return {"way to choose experts (by)",
          {{"list", {worth_by_list, /*counted=*/false}},
           {"use", {worth_by_use, /*counted=*/true, /*recorded=*/true}},
           {"gates", {worth_by_gates, /*counted=*/true, /*recorded=*/true}},
           {"norm", {worth_by_norm}},
           {"random", {worth_at_random}}}};
}

template <class Visitor>
void visit(PruneConfig& config, Visitor& field) {
  using namespace parallel;
  Legal rules = anything();
  rules.names = prune_rules().names();
  field("by", config.by, rules,
        "whom to keep: those of a list, those chosen most, those of the largest sum of gates, those with the longest "
        "router rows, or some at random (--seed)");
  field("list", config.list, anything(),
        "by = \"list\": numbers such as \"0,2,5\" for all blocks with experts, or one list for each: \"0,2;1,3\"");
  field("kept", config.kept, between(0, 1 << 16), "by anything else: how many in each block");
  field("top_k", config.top_k, between(0, 1 << 10), "experts per token afterwards; 0: as before");
  visit_use(config.recorded, field);
}

std::vector<int64_t> kept_of(const Choosing& c) {
  const PruneRule rule = prune_rules().at(c.config.by);
  const std::vector<double> worth = rule.worth(c);
  const int64_t count =
      rule.counted ? c.config.kept : std::ranges::count_if(worth, [](double each) { return each > 0; });
  const std::string block = parallel::concat("block ", c.block.number, " of ", c.parent.place);
  if (count == 0)
    user_error("prune would leave ", block, " without experts; legal: 1 to ", worth.size(), " of them kept");
  if (count > std::ssize(worth)) user_error("kept = ", count, ", and ", block, " has ", worth.size(), " experts");
  const int64_t top_k = c.config.top_k > 0 ? c.config.top_k : c.block.moe->top_k;
  if (top_k > count) {
    user_error("prune would leave ", block, " with ", count, " experts, and ", section_of(*c.block.moe), ".top_k is ",
               top_k, "; legal: at least ", top_k, " kept, or --set top_k=", count);
  }
  return largest(worth, count, rule.recorded ? recorded_bound(c.parent.recipe) : 0.0);
}

MadeTensor kept_rows(const ExpertTensor& from, const std::vector<int64_t>& kept) {
  MadeTensor made{*from.tensor, {}};
  for (const int64_t expert : kept) {
    if (from.first <= expert && expert < from.first + from.count) {
      made.slabs.push_back(rows_of(*from.tensor, expert - from.first, 1));
    }
  }
  made.of.shape.front() = std::ssize(made.slabs);
  const int64_t behind = from.tensor->shape.front() - from.count;
  if (behind > 0) made.slabs.push_back(rows_of(*from.tensor, from.count, behind));
  made.of.shape.front() += behind;
  return made;
}

Offspring plan_prune(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<PruneConfig>();
  const Parent& parent = parents.front();
  const std::vector<ExpertBlock> blocks = expert_blocks_of(parent.recipe);
  if (layers_with_experts(blocks) == 0) user_error(parent.place, " has no block with experts; legal: a mixture");
  std::optional<RecordedUse> use;
  if (prune_rules().at(config.by).recorded) use.emplace(config.recorded, parent);
  ChosenExperts kept;
  ChangedTensors changed;
  int64_t layer = 0;
  for (const ExpertBlock& block : blocks) {
    if (!block.moe) continue;
    const std::vector<int64_t> own = kept_of({config, parent, blocks, block, layer++, use});
    for (const ExpertTensor& tensor : expert_tensors(parent, block)) {
      std::vector<MadeTensor>& of = changed[tensor.tensor->name];  // none: of a kind that is gone
      of = {kept_rows(tensor, own)};
      if (of.front().of.shape.front() == 0) of.clear();
    }
    kept[block.place()] = own;
  }
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  set_experts(made.recipe, blocks, kept);
  if (config.top_k > 0) {
    for (moetrain::MoeConfig* changed_layer : layers_of(made.recipe, blocks)) changed_layer->top_k = config.top_k;
  }
  made.tensors = tensors_with(parent, changed);
  return made;
}

}  // namespace

Operation prune_operation() {
  return {.sentence = "chosen experts are kept bit for bit, the others left out",
          .keys = parallel::own_keys_of<PruneConfig>,
          .plan = plan_prune};
}

}  // namespace launch
