#include "moetrain/moe/expert_blocks.h"

#include <algorithm>

#include "moetrain/config/block_list.h"
#include "parallel/base/fault.h"

namespace moetrain {

std::vector<bool> expert_blocks(const std::string& layers, int64_t blocks) {
  return chosen_blocks({"moe.layers", "experts"}, layers, blocks);
}

MoeConfig for_layer(const MoeConfig& config, int64_t block, int64_t blocks) {
  const std::vector<bool> chosen = expert_blocks(config.layers, blocks);
  parallel::check_internal(0 <= block && block < blocks && chosen[static_cast<size_t>(block)], "for_layer: block ",
                           block, " of ", blocks, " has no experts");
  MoeConfig layer = config;
  if (config.experts_by_layer.empty()) return layer;
  const auto wanted = static_cast<size_t>(std::ranges::count(chosen, true));
  if (config.experts_by_layer.size() != wanted) {
    parallel::user_error("moe.experts_by_layer has ", config.experts_by_layer.size(), " numbers, but moe.layers = \"",
                         config.layers, "\" of ", blocks, " blocks is ", wanted,
                         " blocks with experts; legal: ", wanted, " numbers, or none for moe.experts everywhere");
  }
  layer.experts =
      config.experts_by_layer[static_cast<size_t>(std::count(chosen.begin(), chosen.begin() + block, true))];
  layer.experts_by_layer.clear();
  return layer;
}

}  // namespace moetrain
