// The published schedules and ours, as plans from the same costs, so that all are run by the same executor.
// defines: ScheduleMaker, builtin_schedules, chunked
#pragma once
#include <functional>

#include "parallel/base/name_table.h"
#include "parallel/schedule/planner.h"

namespace parallel {

using ScheduleMaker = std::function<Plan(const StepModel&, const PlanOptions&)>;

/// sequential      one chunk, nothing beside anything, gradients at the end (DeepSpeed-MoE)
/// tutel           one number of chunks for a layer's forward and backward, one link, gradients at the end (Tutel,
///                 PipeMoE)
/// tutel_improved  the same, gradients beside the dense parts
/// lina            the same chunks, gradients in pieces of 30 MB as soon as one is full (Lina)
/// fsmoe_no_split  planned chunks and gradients, but the links inside and between hosts count as one
/// fsmoe           FSMoE's own rule: chunks a power of two up to 8 by its four cases, gradients by its two steps
/// planned         ours (planner.h), or a published one where contention makes that faster, or the sequential one where
///                 less than PlanOptions::least_step_gain is gained
NameTable<ScheduleMaker> builtin_schedules();

/// By hand, from no costs: every layer in so many chunks, gradients as soon as they are there.
Plan chunked(int64_t layers, int64_t forward_chunks, int64_t backward_chunks);

}  // namespace parallel
