// defines: BlockStack: blocks one after another, and what they say besides their output
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "moetrain/attention/position_bias.h"
#include "moetrain/models/model.h"
#include "moetrain/models/transformer_block.h"

namespace moetrain {

/// Blocks named "0", "1", ..., and the one table "position_bias" of those that attend by distance; which of them hold
/// what experts is layer_configs', over all blocks of the model.
class BlockStack : public torch::nn::Module {
 public:
  BlockStack(const ParameterSource& source, const ModelConfig& config, const MoeConfig& moe, const StackShape& shape,
             const MoeTables& tables);

  /// What goes in besides the tokens.
  struct Context {
    const BatchScope& scope;
    const Memory* memory = nullptr;     // where the blocks attend to one
    std::span<BlockCache> caches = {};  // in decoding: one for each block; else empty
    Recompute recompute = Recompute::kNone;
    at::Tensor condition_SD = {};  // of all sequences of the tensor group, where the stack is modulated
  };

  /// Adds losses and routing of the MoE blocks to `output`.
  at::Tensor forward(at::Tensor x_TD, const Context& context, ModelOutput& output);

 private:
  /// Of the places that come next in each sequence; undefined without a table, or where there are none.
  at::Tensor position_bias(const Context& context) const;

  Side side_;
  std::vector<std::shared_ptr<TransformerBlock>> blocks_;
  std::shared_ptr<PositionBias> position_bias_;  // null without
};

}  // namespace moetrain
