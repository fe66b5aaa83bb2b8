// What a training step costs, as lines over sizes: all that scheduling knows of machine and model.
// Source: FSMoE, section 3.2 (a task takes alpha + beta * size; one of r chunks alpha + beta * size / r).
// defines: Direction, ExpertBackward, CostLines, LayerLoad, Contention, StepModel, ChunkTimes, chunk_times,
// GradientCost
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/links/line_fit.h"

namespace parallel {

enum class Direction { kForward, kBackward };

/// How many tasks the backward of a chunk's experts is.
enum class ExpertBackward {
  kOneTask,   // FSMoE's model: the combine waits for input and weight gradients
  kTwoTasks,  // input gradients, which the combine waits for; then weight gradients, which nothing waits for
};

/// A task without bytes or multiply-adds does not exist and takes no time.
struct CostLines {
  Line all_to_all, all_gather, reduce_scatter, all_reduce;  // [s] over [byte] that a rank hands in
  // [s] over multiply-adds; alpha is that of one matrix multiplication (over all experts of a rank).
  Line expert_forward, expert_input_gradient, expert_weight_gradient;
  double carve_out = 0;  // share of a GPU that experts in several chunks leave to the exchanges beside them
};

/// One MoE layer and the dense part in front of it (in forward order); sizes of one rank and of the whole layer.
struct LayerLoad {
  double all_to_all_bytes = 0, all_gather_bytes = 0, reduce_scatter_bytes = 0;  // one way, the larger
  double multiply_adds = 0;  // of the experts' forward; backward has as many for inputs and as many for weights
  int64_t matrices = 2;      // matrix multiplications of an expert's forward: 2 or (gated) 3
  double dense_forward_seconds = 0, dense_backward_seconds = 0;
  int64_t dense_gradient_bytes = 0;  // of the dense part, to be summed over hosts
};

/// What computing beside an exchange takes longer, and what the exchange does, as shares: who carries the exchange has
/// the same cores.
struct Contention {
  double compute = 0, link = 0;
};

/// A step: dense part 0, MoE layer 0, dense part 1, ..., the head; then backward. Of several micro-batches the last:
/// only its backward completes gradients.
struct StepModel {
  CostLines lines;
  std::vector<LayerLoad> layers;  // in forward order
  double head_forward_seconds = 0, head_backward_seconds = 0;
  int64_t head_gradient_bytes = 0;  // of all that follows the last MoE layer
  Contention contention;            // what the carve-out leaves of it
  int64_t carve_out = 0;            // Plan::carve_out
};

/// [s] of one of a layer's chunks on each resource.
struct ChunkTimes {
  double all_to_all = 0, all_gather = 0, reduce_scatter = 0;
  double experts = 0;           // what the reduce-scatter waits for
  double weight_gradients = 0;  // backward in two tasks
};

/// @pre chunks >= 1, carve_out < 1
inline ChunkTimes chunk_times(const CostLines& lines, const LayerLoad& load, Direction direction,
                              ExpertBackward experts, int64_t chunks) {
  const double part = 1 / static_cast<double>(chunks);
  const double fewer = chunks > 1 ? 1 / (1 - lines.carve_out) : 1;  // multiprocessors take so much longer
  const auto exchange = [&](const Line& line, double bytes) { return bytes > 0 ? line.seconds(bytes * part) : 0; };
  const auto multiply = [&](const Line& line) {
    if (load.multiply_adds <= 0) return 0.0;
    return static_cast<double>(load.matrices) * line.alpha + line.beta * load.multiply_adds * part * fewer;
  };
  ChunkTimes times{.all_to_all = exchange(lines.all_to_all, load.all_to_all_bytes),
                   .all_gather = exchange(lines.all_gather, load.all_gather_bytes),
                   .reduce_scatter = exchange(lines.reduce_scatter, load.reduce_scatter_bytes)};
  if (direction == Direction::kForward) {
    times.experts = multiply(lines.expert_forward);
    return times;
  }
  times.experts = multiply(lines.expert_input_gradient);
  (experts == ExpertBackward::kOneTask ? times.experts : times.weight_gradients) +=
      multiply(lines.expert_weight_gradient);
  return times;
}

/// What summing gradients over hosts takes.
struct GradientCost {
  Line all_reduce;
  int64_t slice_bytes = 0;  // each so many bytes are a message of their own; 0: all of one place are one message
  double seconds(int64_t bytes) const {
    if (bytes <= 0) return 0;
    const int64_t messages = slice_bytes > 0 ? (bytes + slice_bytes - 1) / slice_bytes : 1;
    return static_cast<double>(messages) * all_reduce.alpha + all_reduce.beta * static_cast<double>(bytes);
  }
};

}  // namespace parallel
