#include "launch/planning/step_prediction.h"

#include <algorithm>
#include <utility>

#include "parallel/schedule/intervals.h"
#include "parallel/schedule/schedules.h"

namespace launch {
namespace {

using parallel::Resource;
using parallel::Timeline;

struct Shares {
  double compute = 0, exposed_first = 0, exposed_second = 0, first = 0, second = 0;
};

/// `first`: the link that gradients take. Where both are busy and compute is not, it is the one that counts.
Shares shares_of(const Timeline& timeline) {
  const auto compute = busy(timeline, {Resource::kCompute});
  const auto first = busy(timeline, {Resource::kBetweenHosts});
  const auto second = busy(timeline, {Resource::kInsideHost});
  Shares shares{.compute = length(compute), .first = length(first), .second = length(second)};
  shares.exposed_first = shares.first - length_of_both(first, compute);
  shares.exposed_second =
      shares.second - length_of_both(second, busy(timeline, {Resource::kCompute, Resource::kBetweenHosts}));
  return shares;
}

void add_micro_batch(const StepCosts& costs, const Timeline& timeline, double times, PlannedStep& step) {
  const Shares shares = shares_of(timeline);
  double& exposed_first = costs.between ? step.exposed_between : step.exposed_inside;
  double& hidden_first = costs.between ? step.hidden_between : step.hidden_inside;
  // With experts' exchanges all on one kind of link the simulator's second resource is that link too.
  double& exposed_second = costs.one_link ? exposed_first : costs.between ? step.exposed_inside : step.exposed_between;
  double& hidden_second = costs.one_link ? hidden_first : costs.between ? step.hidden_inside : step.hidden_between;
  // Dense layers wait for their exchanges, which the simulator sees as theirs.
  const double exchanges = costs.exchanges_inside + costs.exchanges_between;
  step.compute += times * (shares.compute - exchanges);
  step.exposed_inside += times * costs.exchanges_inside;
  step.exposed_between += times * costs.exchanges_between;
  exposed_first += times * shares.exposed_first;
  exposed_second += times * shares.exposed_second;
  hidden_first += times * (shares.first - shares.exposed_first);
  hidden_second += times * (shares.second - shares.exposed_second);
  step.seconds += times * timeline.seconds;
}

/// Without gradients: those of a micro-batch after which others follow.
parallel::StepModel without_gradients(parallel::StepModel model) {
  model.head_gradient_bytes = 0;
  for (parallel::LayerLoad& load : model.layers) load.dense_gradient_bytes = 0;
  return model;
}

parallel::Plan without_gradients(parallel::Plan plan) {
  for (parallel::LayerPlan& layer : plan.layers) layer.moe_gradient_bytes = layer.dense_gradient_bytes = 0;
  return plan;
}

/// As the cluster has its links, not as the scheduler numbers them.
void name_links(const StepCosts& costs, Timeline& timeline) {
  const Resource first = costs.between ? Resource::kBetweenHosts : Resource::kInsideHost;
  const Resource second = costs.one_link ? first : Resource::kInsideHost;
  for (parallel::Task& task : timeline.tasks) {
    if (task.resource == Resource::kBetweenHosts) {
      task.resource = first;
    } else if (task.resource == Resource::kInsideHost) {
      task.resource = second;
    }
  }
}

}  // namespace

PlannedStep predict_step(const StepCosts& costs, const parallel::Plan& plan, const parallel::PlanOptions& options) {
  PlannedStep step{.plan = plan, .timeline = predicted(costs.model, plan, options)};
  add_micro_batch(costs, step.timeline, 1, step);
  if (costs.micro_batches > 1) {
    const Timeline earlier =
        costs.sums_each ? step.timeline : predicted(without_gradients(costs.model), without_gradients(plan), options);
    add_micro_batch(costs, earlier, static_cast<double>(costs.micro_batches - 1), step);
  }
  name_links(costs, step.timeline);
  step.compute += costs.update_seconds;
  step.exposed_inside += costs.gather_inside;
  step.exposed_between += costs.gather_between;
  step.seconds += costs.update_seconds + costs.gather_inside + costs.gather_between;
  step.idle = std::max(0.0, step.seconds - step.compute - step.exposed_inside - step.exposed_between);
  return step;
}

PlannedStep best_schedule(const StepCosts& costs, const parallel::PlanOptions& options,
                          std::map<std::string, double>* by_name) {
  const parallel::NameTable<parallel::ScheduleMaker> schedules = parallel::builtin_schedules();
  PlannedStep best = predict_step(costs, schedules.at("sequential")(costs.model, options), options);
  if (by_name != nullptr) (*by_name)["sequential"] = best.seconds;
  for (const char* name : {"planned", "tutel", "tutel_improved", "lina", "fsmoe_no_split", "fsmoe"}) {
    if (costs.model.layers.empty()) break;  // nothing can be cut into chunks
    const parallel::Plan plan = schedules.at(name)(costs.model, options);
    // Two links may be busy at once only where there are two.
    if (costs.one_link && plan.overlap && !plan.one_link) continue;
    PlannedStep step = predict_step(costs, plan, options);
    if (by_name != nullptr) (*by_name)[name] = step.seconds;
    if (step.seconds < best.seconds * (1 - 1e-9)) best = std::move(step);
  }
  return best;
}

}  // namespace launch
