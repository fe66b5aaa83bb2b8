#include "parallel/schedule/task_graph.h"

#include <algorithm>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// Adds tasks one after another. What ends last of a part is the end of its chains (a link or compute) and the last
/// task of compute: the part behind it waits for both.
class GraphBuilder {
 public:
  GraphBuilder(const Lanes& lanes, const GradientCost& gradients) : lanes_(lanes), gradients_(gradients) {}

  void add_dense(Direction direction, int64_t layer, double seconds) {
    if (seconds <= 0) return;
    const int64_t task =
        add({.kind = TaskKind::kDense, .direction = direction, .layer = layer, .seconds = seconds}, barrier_);
    barrier_ = {task, -1};
  }

  /// Sends them from here on, beside whatever follows.
  void add_gradients(int64_t layer, int64_t bytes) {
    const int64_t slice = gradients_.slice_bytes > 0 ? gradients_.slice_bytes : bytes;
    for (int64_t sent = 0, number = 0; sent < bytes; sent += slice, ++number) {
      const int64_t now = std::min(slice, bytes - sent);
      add({.kind = TaskKind::kGradient,
           .resource = Resource::kBetweenHosts,
           .direction = Direction::kBackward,
           .layer = layer,
           .chunk = number,
           .bytes = static_cast<double>(now),
           .seconds = gradients_.all_reduce.seconds(static_cast<double>(now))},
          barrier_);
    }
  }

  void add_moe(const MoePart& part) {
    check_internal(part.chunks >= 1, "a layer in ", part.chunks, " chunks");
    const auto chunks = static_cast<size_t>(part.chunks);
    std::vector<int64_t> ends(chunks, -1);  // the last task of each chunk's chain so far
    if (!lanes_.overlap) {
      for (size_t i = 0; i < chunks; ++i) {
        add_way_there(part, i, ends);
        add_experts(part, i, ends);
        if (i + 1 == chunks) add_gradients(part.layer, part.gradient_bytes);
        add_way_back(part, i, ends);
      }
    } else {
      for (size_t i = 0; i < chunks; ++i) add_way_there(part, i, ends);
      for (size_t i = 0; i < chunks; ++i) add_experts(part, i, ends);
      add_gradients(part.layer, part.gradient_bytes);
      for (size_t i = 0; i < chunks; ++i) add_way_back(part, i, ends);
    }
    if (ends.back() >= 0) barrier_ = {ends.back(), last_compute_};
  }

  std::vector<Task> take() { return std::move(tasks_); }

 private:
  int64_t add(Task task, const std::array<int64_t, 2>& after) {
    if (lanes_.one_link && task.resource == Resource::kInsideHost) task.resource = Resource::kBetweenHosts;
    task.after = after;
    tasks_.push_back(task);
    const auto index = static_cast<int64_t>(tasks_.size()) - 1;
    if (task.resource == Resource::kCompute) last_compute_ = index;
    return index;
  }

  /// The next task of chunk i's chain, unless it takes no time.
  void extend(const MoePart& part, size_t i, std::vector<int64_t>& ends, TaskKind kind, double bytes, double seconds) {
    if (seconds <= 0) return;
    Task task{.kind = kind, .direction = part.direction, .layer = part.layer, .chunk = static_cast<int64_t>(i)};
    task.seconds = seconds;
    task.bytes = bytes / static_cast<double>(part.chunks);
    if (kind == TaskKind::kDispatch || kind == TaskKind::kCombine) task.resource = Resource::kBetweenHosts;
    if (kind == TaskKind::kAllGather || kind == TaskKind::kReduceScatter) task.resource = Resource::kInsideHost;
    std::array<int64_t, 2> after = ends[i] >= 0 ? std::array<int64_t, 2>{ends[i], -1} : barrier_;
    if (!lanes_.overlap && ends[i] < 0 && i > 0 && ends[i - 1] >= 0) after = {ends[i - 1], last_compute_};
    ends[i] = add(task, after);
  }

  void add_way_there(const MoePart& part, size_t i, std::vector<int64_t>& ends) {
    extend(part, i, ends, TaskKind::kDispatch, part.load.all_to_all_bytes, part.times.all_to_all);
    extend(part, i, ends, TaskKind::kAllGather, part.load.all_gather_bytes, part.times.all_gather);
  }

  void add_experts(const MoePart& part, size_t i, std::vector<int64_t>& ends) {
    const bool input_only = part.direction == Direction::kBackward && part.experts == ExpertBackward::kTwoTasks;
    extend(part, i, ends, input_only ? TaskKind::kInputGradient : TaskKind::kExperts, 0, part.times.experts);
    if (part.times.weight_gradients <= 0) return;
    Task task{.kind = TaskKind::kWeightGradient, .direction = part.direction, .layer = part.layer};
    task.chunk = static_cast<int64_t>(i);
    task.seconds = part.times.weight_gradients;
    const int64_t weights = add(task, {ends[i], -1});
    if (!lanes_.overlap) ends[i] = weights;
  }

  void add_way_back(const MoePart& part, size_t i, std::vector<int64_t>& ends) {
    extend(part, i, ends, TaskKind::kReduceScatter, part.load.reduce_scatter_bytes, part.times.reduce_scatter);
    extend(part, i, ends, TaskKind::kCombine, part.load.all_to_all_bytes, part.times.all_to_all);
  }

  Lanes lanes_;
  GradientCost gradients_;
  std::vector<Task> tasks_;
  std::array<int64_t, 2> barrier_ = {-1, -1};
  int64_t last_compute_ = -1;
};

/// Gradients that have come up in backward and have not been sent.
struct Pending {
  int64_t bytes = 0;
  int64_t take(int64_t released) {
    check_internal(released >= 0 && released <= bytes, "a plan releases ", released, " bytes of gradients where ",
                   bytes, " are there");
    bytes -= released;
    return released;
  }
  /// What may go before backward has ended, at the end of a dense part.
  int64_t take_ready(const Plan& plan) {
    if (plan.release != GradientRelease::kWhenReady) return 0;
    return take(plan.slice_bytes > 0 ? bytes / plan.slice_bytes * plan.slice_bytes : bytes);
  }
};

}  // namespace

std::vector<Task> moe_tasks(const MoePart& part, const Lanes& lanes, const GradientCost& gradients) {
  GraphBuilder builder(lanes, gradients);
  builder.add_moe(part);
  return builder.take();
}

std::vector<Task> step_tasks(const StepModel& model, const Plan& plan, ExpertBackward experts) {
  const auto count = static_cast<int64_t>(model.layers.size());
  check_internal(plan.layers.empty() || plan.layers.size() == model.layers.size(), "a plan of ", plan.layers.size(),
                 " layers for a model of ", count);
  const auto layer_plan = [&](int64_t i) {
    return plan.layers.empty() ? LayerPlan{} : plan.layers[static_cast<size_t>(i)];
  };
  GraphBuilder builder({.overlap = plan.overlap, .one_link = plan.one_link},
                       {.all_reduce = model.lines.all_reduce, .slice_bytes = plan.slice_bytes});
  const auto add_moe = [&](Direction direction, int64_t i, int64_t chunks, int64_t gradient_bytes) {
    const LayerLoad& load = model.layers[static_cast<size_t>(i)];
    builder.add_moe({.load = load,
                     .times = chunk_times(model.lines, load, direction, experts, chunks),
                     .direction = direction,
                     .experts = experts,
                     .layer = i,
                     .chunks = chunks,
                     .gradient_bytes = gradient_bytes});
  };
  for (int64_t i = 0; i < count; ++i) {
    builder.add_dense(Direction::kForward, i, model.layers[static_cast<size_t>(i)].dense_forward_seconds);
    add_moe(Direction::kForward, i, layer_plan(i).forward_chunks, 0);
  }
  builder.add_dense(Direction::kForward, count, model.head_forward_seconds);
  builder.add_dense(Direction::kBackward, count, model.head_backward_seconds);
  Pending pending{model.head_gradient_bytes};
  builder.add_gradients(count, pending.take_ready(plan));
  const bool planned = plan.release == GradientRelease::kPlanned;
  for (int64_t i = count - 1; i >= 0; --i) {
    const LayerPlan layer = layer_plan(i);
    const LayerLoad& load = model.layers[static_cast<size_t>(i)];
    add_moe(Direction::kBackward, i, layer.backward_chunks, planned ? pending.take(layer.moe_gradient_bytes) : 0);
    if (planned) builder.add_gradients(i, pending.take(layer.dense_gradient_bytes));
    builder.add_dense(Direction::kBackward, i, load.dense_backward_seconds);
    pending.bytes += load.dense_gradient_bytes;
    if (i > 0) builder.add_gradients(i, pending.take_ready(plan));
  }
  builder.add_gradients(0, pending.bytes);
  return builder.take();
}

std::string to_string(TaskKind kind) {
  static const char* const names[] = {"dispatch",       "all_gather", "experts", "input_gradient", "weight_gradient",
                                      "reduce_scatter", "combine",    "dense",   "gradient"};
  return names[static_cast<size_t>(kind)];
}

std::string to_string(Resource resource) {
  static const char* const names[] = {"compute", "inside_host", "between_hosts"};
  return names[static_cast<size_t>(resource)];
}

}  // namespace parallel
