// What forward keeps for backward, and what both make on the way, stage by stage: counted from what each layer
// computes. defines: Stage, Routing, activation_stages, ActivationPeak, activation_peak
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "launch/planning/workload.h"

namespace launch {

/// One layer of the model in the order of forward. All in bytes of one rank.
struct Stage {
  std::string name;
  int64_t kept = 0;         // from its forward to its backward
  int64_t in_forward = 0;   // at most on top while it goes forward
  int64_t in_backward = 0;  // at most on top of `kept` while it goes backward
  int64_t held_after = 0;   // from its backward to the end of backward (a gradient that waits for its other half)
  int64_t weights = 0;      // of its matrices, which their gradients take too
  int64_t again = 0;        // kept of it where backward makes the rest again: its input, what was routed
  int64_t opened = 0;       // gradients whose memory is taken in the midst of its backward (reduction_model.h)
  int64_t reduction = 0;    // there when its backward has ended: gradients that have come, and are being summed
  std::vector<std::string> parameters;  // the beginnings of their names
  int64_t rows_kept = 0;                // of `kept`: rows at this rank's experts, and what those make of them
  int64_t rows_in_backward = 0;         // of `in_backward`: likewise
  int64_t head_chunk = 0;               // of `in_forward`: the logits of a chunk and what is made of them
};

/// How rows are spread over the ranks that share a layer's experts.
struct Routing {
  double imbalance = 1;  // rows of the busiest rank over what it has where every expert gets as many
  bool bounded = false;  // instead: it takes in all that mesh.receive_bound lets it take in at once
};

/// In the order of forward, the head last; of two passes all stages of the first, then of the second.
std::vector<Stage> activation_stages(const Recipe& recipe, const Workload& work, const Routing& routing);

struct ActivationPeak {
  int64_t bytes = 0;  // at most, above what is there between updates
  std::string stage;  // where
  bool backward = false;
  int64_t rows = 0, head_chunk = 0, reduction = 0;  // of it
};

/// Walks the stages forward and backward.
ActivationPeak activation_peak(const std::vector<Stage>& stages);

}  // namespace launch
