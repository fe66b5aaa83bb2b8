// defines: expert_blocks, layer_configs, all_layer_configs
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "moetrain/config/moe_config.h"

namespace moetrain {

/// Which of a model's `blocks` blocks hold experts, of whatever kind, in that slot: MoeConfig::layers, as chosen_blocks
/// reads it, or MoeConfig::placement, pieces NAME:BLOCKS or NAME.SLOT:BLOCKS with semicolons between them, whose names
/// are those of `named`, or "moe"; without a slot the feed-forward's. UserError naming the key: what chosen_blocks
/// refuses; a placement beside layers, a piece that is none, a name or slot that nobody has or that stands twice, a
/// block that two have; a named config that no block has.
std::vector<bool> expert_blocks(const MoeConfig& config, int64_t blocks, Slot slot = Slot::kFeedForward);

/// Of each block the config of the experts in that slot; nullopt: a dense one. All that is read of one layer is read of
/// this: `experts` is the block's own number of MoeConfig::experts_by_layer (PR-MoE's pyramid, Rajbhandari et al.
/// 2022), and nothing is left there of other blocks or kinds. UserError as above, and naming experts_by_layer: not one
/// number for each block of its kind.
std::vector<std::optional<MoeConfig>> layer_configs(const MoeConfig& config, int64_t blocks,
                                                    Slot slot = Slot::kFeedForward);

/// Both slots' after each other, without those of dense ones; where what is asked is of the whole model.
std::vector<MoeConfig> all_layer_configs(const MoeConfig& config, int64_t blocks);

}  // namespace moetrain
