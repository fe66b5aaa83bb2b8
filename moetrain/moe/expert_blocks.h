// defines: expert_blocks, for_layer
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "moetrain/config/moe_config.h"

namespace moetrain {

/// Which of a model's `blocks` blocks hold experts: MoeConfig::layers, as chosen_blocks reads it.
std::vector<bool> expert_blocks(const std::string& layers, int64_t blocks);

/// The config of block number `block`, one with experts, of a model of `blocks`: `experts` is its own number of
/// MoeConfig::experts_by_layer (PR-MoE's pyramid, Rajbhandari et al. 2022), which is left empty.
/// UserError naming moe.experts_by_layer: not one number for each block with experts.
MoeConfig for_layer(const MoeConfig& config, int64_t block, int64_t blocks);

}  // namespace moetrain
