// defines: BlockKey, chosen_blocks: which blocks of a model a text names
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace moetrain {

/// Where the text stands, for messages.
struct BlockKey {
  const char* name;  // "moe.layers"
  const char* what;  // that "none" of the blocks then has: "experts"
};

/// Which of a model's `blocks` blocks `text` names: "all"; "none"; "odd" or "even", counted from 0; "every:N", the last
/// of each N blocks; or a list of blocks and ranges such as "1,3" or "0,4-11".
/// UserError naming the key: another text, a block out of range, one named twice, a range that runs backwards, a choice
/// other than "none" that is no block.
std::vector<bool> chosen_blocks(const BlockKey& key, const std::string& text, int64_t blocks);

}  // namespace moetrain
