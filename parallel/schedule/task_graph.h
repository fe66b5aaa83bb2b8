// The work of a step as tasks on three serial resources, each in a stated order.
// Source: FSMoE, section 4 (dispatch -> all-gather -> experts -> reduce-scatter -> combine, in chunks).
// defines: TaskKind, Resource, Task, Lanes, MoePart, moe_tasks, step_tasks, to_string
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/schedule/costs.h"
#include "parallel/schedule/plan.h"

namespace parallel {

enum class TaskKind {
  kDispatch,
  kAllGather,
  kExperts,  // forward, or backward in one task
  kInputGradient,
  kWeightGradient,
  kReduceScatter,
  kCombine,
  kDense,
  kGradient,  // a slice of the dense gradients' all-reduce
};
std::string to_string(TaskKind kind);

enum class Resource { kCompute, kInsideHost, kBetweenHosts };
inline constexpr int64_t kResources = 3;
std::string to_string(Resource resource);

struct Task {
  TaskKind kind = TaskKind::kDense;
  Resource resource = Resource::kCompute;
  Direction direction = Direction::kForward;
  int64_t layer = 0;  // in forward order; the head's is the number of layers
  int64_t chunk = 0;  // or the number of the slice
  double bytes = 0;   // [byte] that a rank hands in; 0: no exchange
  double seconds = 0;
  std::array<int64_t, 2> after = {-1, -1};  // tasks, by index, that must have ended; -1: none
};

/// What may go on beside what.
struct Lanes {
  bool overlap = true;    // false: each task waits for the one before
  bool one_link = false;  // the link inside a host is the link between hosts
};

/// One direction of one MoE layer.
struct MoePart {
  LayerLoad load;
  ChunkTimes times;
  Direction direction = Direction::kForward;
  ExpertBackward experts = ExpertBackward::kOneTask;
  int64_t layer = 0, chunks = 1;
  int64_t gradient_bytes = 0;  // sent after the last dispatch (one link: all-gather) and before the first combine
};

/// The part's tasks. A resource serves its tasks in the order in which they stand here, so between hosts
/// D_1 .. D_r, gradients, C_1 .. C_r; inside AG_1 .. AG_r, RS_1 .. RS_r; compute E_1 .. E_r, or I_1 W_1 I_2 W_2 ...;
/// on one link D_1 AG_1 D_2 AG_2 ..., gradients, RS_1 C_1 RS_2 C_2 ... @pre chunks >= 1
std::vector<Task> moe_tasks(const MoePart& part, const Lanes& lanes, const GradientCost& gradients);

/// A whole step under a plan: forward, backward with the gradients where the plan releases them, the rest at the end.
/// When ready: a slice stands behind what was issued before the dense part that completes it had ended.
/// @pre the plan has no layers, or as many as the model; it releases no more than there is
std::vector<Task> step_tasks(const StepModel& model, const Plan& plan, ExpertBackward experts);

}  // namespace parallel
