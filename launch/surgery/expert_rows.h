// Which rows of which tensors belong to which expert: what operations on single experts walk.
// defines: ExpertBlock, expert_blocks_of, ExpertTensor, expert_tensors, ChosenExperts, set_experts, give_table,
// check_dense, layers_of, feed_forward_layers, keep_hidden_width, same_tensor, ChangedTensors,
// tensors_with, rows_of, number_list
#pragma once
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/surgery/operation.h"

namespace launch {

/// Of a block the place of its feed-forward, or where experts stand there, of its attention.
struct ExpertBlock {
  int64_t number = 0;  // of the model's blocks
  moetrain::Slot slot = moetrain::Slot::kFeedForward;
  std::string prefix;                        // of its tensors' names: "blocks.3."
  std::optional<moetrain::MoeConfig> moe;    // nullopt: a dense one
  std::vector<moetrain::ExpertRange> kinds;  // of its routed experts

  /// How the names of what stands there begin.
  std::string layer() const { return prefix + (slot == moetrain::Slot::kFeedForward ? "moe." : "attention."); }
  std::pair<int64_t, moetrain::Slot> place() const { return {number, slot}; }
};

/// All blocks of the model, in the order of forward.
std::vector<ExpertBlock> expert_blocks_of(const Recipe& recipe);

/// A tensor whose dim 0 counts routed experts first to first + count of its block; behind them, of a router's, come
/// those that compute nothing.
struct ExpertTensor {
  const StoredWeights::Tensor* tensor = nullptr;
  int64_t first = 0, count = 0;
  bool of_router = false;
  double std = 0;  // of initial weights
};

/// Those of one block. UserError for a router of which nobody knows which rows are experts'.
std::vector<ExpertTensor> expert_tensors(const Parent& parent, const ExpertBlock& block);

/// By ExpertBlock::place, the routed experts of the parent that it has afterwards, in order.
using ChosenExperts = std::map<std::pair<int64_t, moetrain::Slot>, std::vector<int64_t>>;

/// Says in [moe], and in each [layer.NAME], how many of each kind there are afterwards; -1 among the chosen: a new one,
/// of the last kind.
void set_experts(Recipe& recipe, const std::vector<ExpertBlock>& blocks, const ChosenExperts& chosen);

/// [moe] and each [layer.NAME], as far as one of these blocks holds it; and of all blocks the feed-forwards' places.
std::vector<moetrain::MoeConfig*> layers_of(Recipe& recipe, const std::vector<ExpertBlock>& blocks);
std::vector<moetrain::MoeConfig*> feed_forward_layers(Recipe& recipe);

/// Says which of the experts work for which task (moe.task_table.experts), and the tasks where the recipe has none yet.
void give_table(Recipe& recipe, const std::string& table);

/// UserError where a block has experts already, or its feed-forward what experts have not.
void check_dense(const Parent& parent, const std::vector<ExpertBlock>& blocks, const char* operation);

/// Of a router whose hidden layer is as wide as there are experts, unless it is told: from now on as it is.
void keep_hidden_width(moetrain::MoeConfig& config);

/// The tensor as the parent has it.
MadeTensor same_tensor(const StoredWeights::Tensor& tensor, size_t parent = 0);

/// By name of a parent's tensor, what it becomes: one, or several.
using ChangedTensors = std::map<std::string, std::vector<MadeTensor>>;

/// All tensors of the parent, in its order, the others as it has them.
std::vector<MadeTensor> tensors_with(const Parent& parent, const ChangedTensors& changed);

/// Rows first to first + count of it.
Slab rows_of(const StoredWeights::Tensor& tensor, int64_t first, int64_t count, size_t parent = 0);

/// "0,2,5" as numbers below `end`, none twice, in order. UserError beginning with `place`.
std::vector<int64_t> number_list(const std::string& text, int64_t end, const std::string& place);

}  // namespace launch
