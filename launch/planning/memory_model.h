// Memory of one rank by kind.
// defines: StateMemory, state_memory, MemoryUse, memory_use
#pragma once
#include <cstdint>
#include <string>

#include "launch/planning/activation_model.h"
#include "launch/planning/parameter_table.h"
#include "launch/planning/workload.h"

namespace launch {

/// Bytes that are there when an update's last backward ends: exact.
struct StateMemory {
  int64_t weights = 0;
  int64_t gradients = 0;  // in float32 (of float64 weights float64); with ZeRO 1 whole and the own part of the sum,
                          // with ZeRO 2 the own part alone. MemoryUse has here what of them is there before an
                          // update's last backward, nothing of one micro-batch, and the others in `reduction`
  int64_t optimizer = 0;  // two moments, and of bf16 weights float32 masters
  int64_t host = 0;       // optimizer.offload: moments and masters of all weights, in the host's memory instead; not
                          // in the total
  int64_t pinned = 0;     // optimizer.offload: host memory that gradients and weights travel through; likewise
  int64_t total() const { return weights + gradients + optimizer; }
};
StateMemory state_memory(const Recipe& recipe, const ParameterTable& parameters);

/// Bytes of one rank at its peak.
struct MemoryUse {
  StateMemory state;
  int64_t reduction = 0;    // of gradients: buckets that are open, what arrives (ZeRO), copies for clipping (float64)
  int64_t batch = 0;        // tokens of all micro-batches, and tables of positions
  int64_t activations = 0;  // but for the next two
  int64_t dispatch = 0;     // rows on their way to experts, and what experts keep and make of them
  int64_t head = 0;         // the chunk of logits
  std::string peak;         // in which layer and direction
  int64_t total() const { return state.total() + reduction + batch + activations + dispatch + head; }
};
MemoryUse memory_use(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                     const Routing& routing);

}  // namespace launch
