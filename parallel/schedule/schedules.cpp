#include "parallel/schedule/schedules.h"

#include <algorithm>
#include <utility>

#include "parallel/schedule/closed_form.h"

namespace parallel {
namespace {

constexpr Lanes kOneLink{.overlap = true, .one_link = true};

Plan sequential(const StepModel& model, const PlanOptions& options) {
  return {.name = "sequential",
          .release = GradientRelease::kAfterBackward,
          .slice_bytes = options.slice_bytes,
          .layers = std::vector<LayerPlan>(model.layers.size())};
}

/// Of the numbers of chunks 1, 2, ... the one whose forward and backward together are fastest; ties: the smaller.
int64_t shared_chunks(const StepModel& model, const LayerLoad& load, PlanOptions options) {
  options.least_gain = -1e9;  // keep every number: forward may gain what backward loses
  const auto forward = chunk_options(model.lines, load, Direction::kForward, kOneLink, options);
  const auto backward = chunk_options(model.lines, load, Direction::kBackward, kOneLink, options);
  size_t best = 0;
  const auto both = [&](size_t i) { return forward[i].seconds + backward[i].seconds; };
  for (size_t i = 1; i < forward.size(); ++i) {
    if (both(i) < both(best) * (1 - 1e-9)) best = i;
  }
  return forward[best].chunks;
}

Plan tutel(const StepModel& model, const PlanOptions& options) {
  Plan plan{.name = "tutel", .overlap = true, .one_link = true, .release = GradientRelease::kAfterBackward};
  plan.slice_bytes = options.slice_bytes;
  for (const LayerLoad& load : model.layers) {
    const int64_t chunks = shared_chunks(model, load, options);
    plan.layers.push_back({.forward_chunks = chunks, .backward_chunks = chunks});
  }
  return plan;
}

Plan tutel_improved(const StepModel& model, const PlanOptions& options) {
  Plan plan = tutel(model, options);
  plan.name = "tutel_improved";
  plan.release = GradientRelease::kPlanned;
  int64_t there = model.head_gradient_bytes;
  for (size_t i = plan.layers.size(); i-- > 0;) {
    plan.layers[i].dense_gradient_bytes = there;
    there = model.layers[i].dense_gradient_bytes;
  }
  return plan;
}

Plan lina(const StepModel& model, const PlanOptions& options) {
  Plan plan = tutel(model, options);
  plan.name = "lina";
  plan.release = GradientRelease::kWhenReady;
  plan.slice_bytes = kLinaPieceBytes;
  return plan;
}

Plan fsmoe_no_split(const StepModel& model, const PlanOptions& options) {
  std::vector<int64_t> forward;
  for (const LayerLoad& load : model.layers) {
    const BackwardLayer layer{.options = chunk_options(model.lines, load, Direction::kForward, kOneLink, options)};
    forward.push_back(layer.fastest(0).chunks);
  }
  const BackwardPass pass = backward_pass(model, kOneLink, options);
  Plan plan{.name = "fsmoe_no_split", .overlap = true, .one_link = true, .release = GradientRelease::kPlanned};
  plan.slice_bytes = options.slice_bytes;
  return assemble(pass, cheapest(pass, options.quanta), forward, plan);
}

/// The powers of two by the case table, which knows no weight gradients apart.
std::vector<ChunkOption> case_options(const StepModel& model, const LayerLoad& load, Direction direction,
                                      const PlanOptions& options) {
  std::vector<ChunkOption> all;
  for (int64_t chunks = 1; chunks <= std::min<int64_t>(8, options.most_chunks); chunks *= 2) {
    const ChunkTimes times = chunk_times(model.lines, load, direction, ExpertBackward::kOneTask, chunks);
    all.push_back({.chunks = chunks,
                   .seconds = case_table({.chunk = times, .chunks = chunks}).seconds,
                   .link_seconds = 2 * static_cast<double>(chunks) * times.all_to_all});
  }
  return all;
}

Plan fsmoe(const StepModel& model, const PlanOptions& options) {
  std::vector<int64_t> forward;
  for (const LayerLoad& load : model.layers) {
    forward.push_back(
        BackwardLayer{.options = case_options(model, load, Direction::kForward, options)}.fastest(0).chunks);
  }
  BackwardPass pass = backward_pass(model, {}, options);
  for (size_t i = 0; i < pass.layers.size(); ++i) {
    pass.layers[i].options =
        case_options(model, model.layers[model.layers.size() - 1 - i], Direction::kBackward, options);
  }
  // Its second step searches for what the exact program finds.
  const Plan plan{
      .name = "fsmoe", .overlap = true, .release = GradientRelease::kPlanned, .slice_bytes = options.slice_bytes};
  return assemble(pass, exact(pass, options.quanta), forward, plan);
}

NameTable<ScheduleMaker> published() {
  return {"schedule",
          {{"fsmoe", fsmoe},  // of equal predictions the first is taken
           {"fsmoe_no_split", fsmoe_no_split},
           {"lina", lina},
           {"sequential", sequential},
           {"tutel", tutel},
           {"tutel_improved", tutel_improved}}};
}

/// The planner's own, with two ways out. Where compute and links slow each other down, which its enumeration does not
/// count, a published rule can beat it: then that rule's plan is ours. And where the whole step gains too little, less
/// than a prediction can be trusted for, it is the sequential one.
Plan planned_or_published(const StepModel& model, const PlanOptions& options) {
  Plan best = planned(model, options);
  double seconds = predicted(model, best, options).seconds;
  const NameTable<ScheduleMaker> others = published();
  const bool contended = model.contention.compute > 0 || model.contention.link > 0;
  for (const std::string& name : contended ? others.names() : std::vector<std::string>{}) {
    Plan other = others.at(name)(model, options);
    const double taken = predicted(model, other, options).seconds;
    if (taken < seconds) seconds = taken, best = std::move(other);
  }
  if (options.least_step_gain > 0) {
    Plan plain = sequential(model, options);
    const double taken = predicted(model, plain, options).seconds;
    if (seconds > taken * (1 - options.least_step_gain)) best = std::move(plain);
  }
  best.name = "planned";
  return best;
}

}  // namespace

NameTable<ScheduleMaker> builtin_schedules() {
  NameTable<ScheduleMaker> all = published();
  all.add("planned", planned_or_published);
  return all;
}

Plan chunked(int64_t layers, int64_t forward_chunks, int64_t backward_chunks) {
  const LayerPlan each{.forward_chunks = forward_chunks, .backward_chunks = backward_chunks};
  return {.name = "chunked", .overlap = true, .layers = std::vector<LayerPlan>(static_cast<size_t>(layers), each)};
}

}  // namespace parallel
