#include "parallel/mesh/expert_map.h"

#include <numeric>

#include "parallel/base/fault.h"

namespace parallel {

int64_t ExpertMap::first(int64_t rank) const {
  return std::accumulate(counts.begin(), counts.begin() + rank, int64_t{0});
}

ExpertMap expert_map(const MeshConfig& config, int64_t experts, const char* counted) {
  if (!config.experts_by_rank.empty()) {
    const ExpertMap map{config.experts_by_rank};
    const auto ranks = static_cast<int64_t>(map.counts.size());
    if (ranks != config.expert) {
      user_error("mesh.experts_by_rank has ", ranks,
                 " numbers; legal: one for each of the mesh.expert = ", config.expert, " ranks");
    }
    if (map.experts() != experts) {
      user_error("mesh.experts_by_rank adds up to ", map.experts(), " ", counted, ", and a layer has ", experts,
                 "; legal: numbers that add up to those of every layer");
    }
    return map;
  }
  if (experts % config.expert != 0) {
    user_error("mesh.expert = ", config.expert, " does not divide the ", experts, " ", counted,
               " of a layer; legal: a ", "divisor of ", experts,
               ", or a map of your own in mesh.experts_by_rank, such as [",
               (experts + config.expert - 1) / config.expert, ", ...]");
  }
  return {std::vector<int64_t>(static_cast<size_t>(config.expert), experts / config.expert)};
}

}  // namespace parallel
