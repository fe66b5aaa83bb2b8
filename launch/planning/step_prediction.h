// A step's time on a machine: its lines, the sizes of a layout, and the schedule's own simulator.
// defines: PlannedStep, StepCosts, step_costs, predict_step, best_schedule
#pragma once
#include <map>
#include <string>
#include <vector>

#include "launch/planning/host_axes.h"
#include "launch/planning/parameter_table.h"
#include "launch/planning/workload.h"
#include "launch/profiles/machine_file.h"
#include "parallel/schedule/planner.h"

namespace launch {

/// What a layout costs on a machine, whatever the schedule.
struct StepCosts {
  parallel::StepModel model;  // of the update's last micro-batch, whose backward completes gradients
  bool one_link = false;      // all that experts and gradients exchange goes over the same kind of link
  bool between = true;        // the schedule's "between hosts" link is between hosts; false: inside one
  int64_t micro_batches = 1;
  bool sums_each =
      false;  // each micro-batch's gradients are summed over ranks by themselves (ZeRO 2), not only the last's
  double exchanges_inside = 0, exchanges_between = 0;  // [s] of dense layers, which nothing hides, in one micro-batch
  double update_seconds = 0;                           // of the optimizer
  double gather_inside = 0, gather_between = 0;        // [s] of ZeRO's parameters, after the update
  std::vector<std::string> assumptions;
};

/// imbalance: rows of the busiest rank's experts over the mean one's; the others wait for them.
/// UserError where the machine gives no line for what the layout does.
StepCosts step_costs(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                     const Machine& machine, const Cluster& cluster, double imbalance = 1);

/// A whole update under a plan.
struct PlannedStep {
  parallel::Plan plan;
  parallel::Timeline timeline;  // of the last micro-batch
  double seconds = 0;           // of the update
  // Where they go; compute is whatever the links do beside it.
  double compute = 0, exposed_inside = 0, exposed_between = 0, idle = 0;
  double hidden_inside = 0, hidden_between = 0;  // communication beside compute
};
PlannedStep predict_step(const StepCosts& costs, const parallel::Plan& plan, const parallel::PlanOptions& options = {});

/// The fastest of the builtin schedules that the layout's links allow; of equally fast ones sequential or planned.
/// `by_name` (may be null): what each takes.
PlannedStep best_schedule(const StepCosts& costs, const parallel::PlanOptions& options = {},
                          std::map<std::string, double>* by_name = nullptr);

}  // namespace launch
