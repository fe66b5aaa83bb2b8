// defines: expert_blocks
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace moetrain {

/// Which of a model's `blocks` blocks hold experts: MoeConfig::layers. "all"; "none"; "odd" or "even", counted from 0;
/// "every:N", the last of each N blocks; or a list of blocks and ranges such as "1,3" or "0,4-11".
/// UserError naming moe.layers: another text, a block out of range, one named twice, a range that runs backwards,
/// a choice other than "none" that holds no block.
std::vector<bool> expert_blocks(const std::string& layers, int64_t blocks);

}  // namespace moetrain
