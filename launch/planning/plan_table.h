// defines: PlanRequest, plan_table, search_table, plan_report_json: what `moetrain plan` prints
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "launch/planning/layout_plan.h"

namespace launch {

struct PlanRequest {
  Recipe recipe;
  int64_t vocabulary = 0;
  Machine machine;
  Cluster cluster;
  double imbalance = 1;
};

std::string plan_table(const PlanRequest& request, const LayoutPlan& plan);
std::string search_table(const LayoutSearch& search);
/// All of the tables' numbers, in bytes and seconds, and the timeline task by task.
nlohmann::ordered_json plan_report_json(const PlanRequest& request, const LayoutPlan* plan, const LayoutSearch* search);

}  // namespace launch
