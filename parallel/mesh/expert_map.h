// defines: ExpertMap, expert_map: which rank of the expert axis holds which experts
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/mesh/mesh_config.h"

namespace parallel {

/// Contiguous ranges of experts, one for each rank of the expert axis in turn; any of them may be empty.
struct ExpertMap {
  std::vector<int64_t> counts;  // by rank of the expert axis

  int64_t first(int64_t rank) const;  // the first expert of a rank
  int64_t count(int64_t rank) const { return counts[static_cast<size_t>(rank)]; }
  int64_t experts() const { return first(static_cast<int64_t>(counts.size())); }
};

/// As config.experts_by_rank says, or the same number each. UserError where that does not come out even, with what
/// would: another mesh.expert, or an explicit map. `counted`: what they are called there, where several experts are
/// one thing to share out.
ExpertMap expert_map(const MeshConfig& config, int64_t experts, const char* counted = "experts");

}  // namespace parallel
