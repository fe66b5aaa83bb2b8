// When a pass over the model holds most, forth and back. defines: Stage, ActivationPeak, activation_peak
#pragma once
#include <cstdint>
#include <string>
#include <vector>

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

struct ActivationPeak {
  int64_t bytes = 0;  // at most, above what is there between updates
  std::string stage;  // where
  bool backward = false;
  int64_t rows = 0, head_chunk = 0, reduction = 0;  // of it
};

/// Walks the stages forward and backward.
inline ActivationPeak activation_peak(const std::vector<Stage>& stages) {
  ActivationPeak peak;
  int64_t kept = 0, rows = 0;
  for (const Stage& stage : stages) {
    kept += stage.kept;
    rows += stage.rows_kept;
    if (kept + stage.in_forward <= peak.bytes) continue;
    peak = {.bytes = kept + stage.in_forward, .stage = stage.name, .rows = rows, .head_chunk = stage.head_chunk};
  }
  int64_t held = 0, reduction = 0;
  for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
    const int64_t gradients = reduction + stage->opened;
    const int64_t bytes = kept + held + gradients + stage->in_backward;
    if (bytes > peak.bytes) {
      peak = {.bytes = bytes, .stage = stage->name, .backward = true, .rows = rows + stage->rows_in_backward};
      peak.reduction = gradients;
    }
    reduction = stage->reduction;
    kept -= stage->kept;
    rows -= stage->rows_kept;
    held += stage->held_after;
  }
  if (held + reduction > peak.bytes)
    peak = {.bytes = held + reduction, .stage = "its end", .backward = true, .reduction = reduction};
  return peak;
}

}  // namespace launch
