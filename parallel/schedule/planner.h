// The plan of a step: simulates every number of chunks, and places the gradients exactly.
// Source: FSMoE, sections 4 and 5, by enumeration in place of its solvers.
// defines: PlanOptions, chunk_options, backward_pass, planned, predicted
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/schedule/gradient_slices.h"
#include "parallel/schedule/plan.h"
#include "parallel/schedule/simulate.h"

namespace parallel {

struct PlanOptions {
  int64_t most_chunks = 16;
  int64_t quanta = 40;      // of the mean layer's gradient, for its placing
  int64_t slice_bytes = 0;  // what the executor cuts gradients into; 0: all of one place are one message
  ExpertBackward experts = ExpertBackward::kTwoTasks;
  double least_gain = 1e-9;    // share of a layer's time; with less to gain it stays in one chunk
  double least_step_gain = 0;  // share of the sequential step; with less to gain the schedule `planned` is sequential
};

/// Every number of chunks, simulated; only that of one where none gains enough.
std::vector<ChunkOption> chunk_options(const CostLines& lines, const LayerLoad& load, Direction direction,
                                       const Lanes& lanes, const PlanOptions& options);

/// A model's backward with every number of chunks open.
BackwardPass backward_pass(const StepModel& model, const Lanes& lanes, const PlanOptions& options);

/// Chunks and gradients into a plan. forward: for each layer, in forward order.
Plan assemble(const BackwardPass& pass, const Slices& slices, const std::vector<int64_t>& forward_chunks, Plan plan);

/// The fastest plan: each layer's own numbers of chunks forward and backward, gradients at their cheapest. Where
/// nothing is gained it is one chunk everywhere and all gradients at the end.
Plan planned(const StepModel& model, const PlanOptions& options);

/// A step under a plan, simulated.
Timeline predicted(const StepModel& model, const Plan& plan, const PlanOptions& options);

}  // namespace parallel
