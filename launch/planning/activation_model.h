// What forward keeps for backward, and what both make on the way, stage by stage: counted from what each layer
// computes. defines: Routing, activation_stages
#pragma once
#include <vector>

#include "launch/planning/activation_peak.h"
#include "launch/planning/workload.h"

namespace launch {

/// How rows are spread over the ranks that share a layer's experts.
struct Routing {
  double imbalance = 1;  // rows of the busiest rank over what it has where every expert gets as many
  bool bounded = false;  // instead: it takes in all that mesh.receive_bound lets it take in at once
};

/// In the order of forward, the head last; of two passes all stages of the first, then of the second.
std::vector<Stage> activation_stages(const Recipe& recipe, const Workload& work, const Routing& routing);

}  // namespace launch
