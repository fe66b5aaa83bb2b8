// defines: expert_blocks, layer_configs
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "moetrain/config/moe_config.h"

namespace moetrain {

/// Which of a model's `blocks` blocks hold experts, of whatever kind: MoeConfig::layers, as chosen_blocks reads it, or
/// MoeConfig::placement, pieces NAME:BLOCKS with semicolons between them, whose names are those of `named`, or "moe".
/// A name has no dot, so that NAME.SLOT may say one day which slot of a block holds experts; today it is the
/// feed-forward's. UserError naming the key: what chosen_blocks refuses; a placement beside layers, a piece that is
/// none, a name that nobody has or that stands twice, a block that two have; a named config that no block has.
std::vector<bool> expert_blocks(const MoeConfig& config, int64_t blocks);

/// Of each block the config of its experts; nullopt: a dense one. All that is read of one layer is read of this:
/// `experts` is the block's own number of MoeConfig::experts_by_layer (PR-MoE's pyramid, Rajbhandari et al. 2022), and
/// nothing is left there of other blocks or kinds. UserError as above, and naming experts_by_layer: not one number for
/// each block of its kind.
std::vector<std::optional<MoeConfig>> layer_configs(const MoeConfig& config, int64_t blocks);

}  // namespace moetrain
