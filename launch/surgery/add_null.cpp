// Null experts join a trained mixture, so that tokens may take fewer true ones (AdaMoE, Zeng et al. 2024).
#include <algorithm>

#include "launch/surgery/expert_rows.h"
#include "moetrain/config/expert_kinds.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

struct AddNullConfig {
  int64_t experts = 8;
  int64_t top_k = 0;
  double load_balance = 1e-3;
};

template <class Visitor>
void visit(AddNullConfig& config, Visitor& field) {
  using namespace parallel;
  field(
      "experts", config.experts, between(1, 1 << 10),
      "m: null experts that each block with E experts gets; the router row of number j is that of true expert j mod E");
  field("top_k", config.top_k, between(0, 1 << 10),
        "choices of a token afterwards; 0: so many that at balance it takes as many true ones as before, "
        "k (E + m) / E rounded up");
  field("load_balance", config.load_balance, above(0),
        "weight of the balance loss afterwards, over which the null experts are balanced as a whole");
}

void check_block(const Parent& parent, const ExpertBlock& block) {
  const moetrain::MoeConfig& moe = *block.moe;
  if (moe.gate != moetrain::Gate::kSum1 && moe.gate != moetrain::Gate::kTrue1) {
    user_error("block ", block.number, " of ", parent.place, " has ", section_of(moe), ".gate = \"", moe.gate,
               "\"; with null experts gates are true1, which is sum1 where there are none; "
               "legal: a mixture with gate = \"sum1\" or \"true1\"");
  }
}

int64_t choices_of(const moetrain::MoeConfig& moe, const AddNullConfig& config) {
  if (config.top_k > 0) return config.top_k;
  const int64_t before = moetrain::expert_kinds(moe).total(), after = before + config.experts;
  return (moe.top_k * after + before - 1) / before;
}

/// Nulls come last of all kinds.
MadeTensor with_rows(const ExpertTensor& of_router, int64_t experts) {
  const StoredWeights::Tensor& tensor = *of_router.tensor;
  MadeTensor made{tensor, {rows_of(tensor, 0, tensor.shape.front())}};
  for (int64_t null = 0; null < experts; ++null) made.slabs.push_back(rows_of(tensor, null % of_router.count, 1));
  made.of.shape.front() += experts;
  return made;
}

void set_nulls(moetrain::MoeConfig& moe, const AddNullConfig& config) {
  keep_hidden_width(moe);
  moe.top_k = choices_of(moe, config);
  moe.null_experts += config.experts;
  moe.gate = moetrain::Gate::kTrue1;
  moe.losses["load_balance"] = config.load_balance;
}

Offspring plan_add_null(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) {
  const auto& config = keys.get<AddNullConfig>();
  const Parent& parent = parents.front();
  Offspring made{.recipe = parent.recipe, .tensors = {}};
  ChangedTensors changed;
  bool any = false;
  for (const ExpertBlock& block : expert_blocks_of(parent.recipe)) {
    if (!block.moe || block.slot != moetrain::Slot::kFeedForward) continue;
    any = true;
    check_block(parent, block);
    for (const ExpertTensor& tensor : expert_tensors(parent, block)) {
      if (tensor.of_router) changed[tensor.tensor->name] = {with_rows(tensor, config.experts)};
    }
  }
  if (!any) user_error(parent.place, " has no block with experts; legal: a mixture, or --operation copy first");
  for (moetrain::MoeConfig* layer : feed_forward_layers(made.recipe)) set_nulls(*layer, config);
  made.tensors = tensors_with(parent, changed);
  return made;
}

}  // namespace

Operation add_null_operation() {
  return {.sentence =
              "null experts, whose router rows are copies of the true ones', more choices, gates over the true ones",
          .keys = parallel::own_keys_of<AddNullConfig>,
          .plan = plan_add_null};
}

}  // namespace launch
