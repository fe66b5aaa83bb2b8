#include "parallel/schedule/planner.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

ChunkOption simulated_option(const CostLines& lines, const LayerLoad& load, Direction direction, const Lanes& lanes,
                             const PlanOptions& options, int64_t chunks) {
  const Timeline timeline = simulate(moe_tasks({.load = load,
                                                .times = chunk_times(lines, load, direction, options.experts, chunks),
                                                .direction = direction,
                                                .experts = options.experts,
                                                .chunks = chunks},
                                               lanes, {}));
  ChunkOption option{.chunks = chunks, .seconds = timeline.seconds};
  for (const Task& task : timeline.tasks) {
    if (task.resource == Resource::kBetweenHosts) option.link_seconds += task.seconds;
  }
  return option;
}

}  // namespace

std::vector<ChunkOption> chunk_options(const CostLines& lines, const LayerLoad& load, Direction direction,
                                       const Lanes& lanes, const PlanOptions& options) {
  std::vector<ChunkOption> all;
  for (int64_t chunks = 1; chunks <= (lanes.overlap ? options.most_chunks : 1); ++chunks) {
    all.push_back(simulated_option(lines, load, direction, lanes, options, chunks));
  }
  const double one = all.front().seconds;
  // A number of chunks that takes longer alone never gains with gradients beside it: its link is busy longer too.
  std::erase_if(all, [&](const ChunkOption& option) {
    return option.chunks > 1 && option.seconds > one * (1 - options.least_gain);
  });
  return all;
}

BackwardPass backward_pass(const StepModel& model, const Lanes& lanes, const PlanOptions& options) {
  BackwardPass pass{.first_bytes = model.head_gradient_bytes,
                    .cost = {.all_reduce = model.lines.all_reduce, .slice_bytes = options.slice_bytes}};
  pass.cost.all_reduce.beta *= 1 + model.contention.link;  // what lies in a gap lies beside compute
  for (auto load = model.layers.rbegin(); load != model.layers.rend(); ++load) {
    pass.layers.push_back({.options = chunk_options(model.lines, *load, Direction::kBackward, lanes, options),
                           .dense_seconds = load->dense_backward_seconds,
                           .gradient_bytes = load->dense_gradient_bytes});
  }
  return pass;
}

Plan assemble(const BackwardPass& pass, const Slices& slices, const std::vector<int64_t>& forward_chunks, Plan plan) {
  const SlicesCost cost = cost_of(pass, slices);
  const size_t count = pass.layers.size();
  check_internal(forward_chunks.size() == count, forward_chunks.size(), " layers forward, ", count, " backward");
  for (size_t i = 0; i < count; ++i) {
    const size_t behind = count - 1 - i;  // in backward order
    plan.layers.push_back({.forward_chunks = forward_chunks[i],
                           .backward_chunks = cost.chunks[behind],
                           .moe_gradient_bytes = slices.moe_bytes[behind],
                           .dense_gradient_bytes = slices.dense_bytes[behind]});
  }
  return plan;
}

Plan planned(const StepModel& model, const PlanOptions& options) {
  const Lanes lanes{.overlap = true, .one_link = false};
  std::vector<int64_t> forward;
  for (const LayerLoad& load : model.layers) {
    const BackwardLayer layer{.options = chunk_options(model.lines, load, Direction::kForward, lanes, options)};
    forward.push_back(layer.fastest(0).chunks);
  }
  const BackwardPass pass = backward_pass(model, lanes, options);
  Plan plan{
      .name = "planned", .overlap = true, .release = GradientRelease::kPlanned, .slice_bytes = options.slice_bytes};
  return assemble(pass, cheapest(pass, options.quanta), forward, plan);
}

Timeline predicted(const StepModel& model, const Plan& plan, const PlanOptions& options) {
  return simulate_contended(step_tasks(model, plan, options.experts), model.contention);
}

}  // namespace parallel
