// All that is said of one layout on a machine, and the layouts that could be had instead.
// defines: LayoutPlan, plan_layout, Wall, RankedLayout, LayoutSearch, search_layouts
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/planning/host_axes.h"
#include "launch/planning/memory_model.h"
#include "launch/planning/step_prediction.h"
#include "launch/planning/traffic_model.h"

namespace launch {

/// What stands in the way of a faster step, or of any.
enum class Wall { kCompute, kLinkInside, kLinkBetween, kMemory };
std::string to_string(Wall wall);

struct LayoutPlan {
  Workload work;
  ParameterTable parameters;  // of the rank with most
  std::vector<HostAxis> axes;
  double imbalance = 1;
  MemoryUse memory;   // with that imbalance
  MemoryUse bounded;  // one rank takes in all that mesh.receive_bound allows, in every layer
  std::map<std::string, AxisTraffic> traffic;
  PlannedStep step;
  std::map<std::string, double> schedules;  // [s] of an update, by name
  std::vector<std::string> assumptions;
  Wall wall = Wall::kCompute;
  bool fits = true;  // `memory`
};

/// imbalance: rows of the busiest rank over the mean one's, of its memory.
/// UserError where the recipe cannot be laid out so, or the machine lacks a line.
LayoutPlan plan_layout(const Recipe& recipe, int64_t vocabulary, const Machine& machine, const Cluster& cluster,
                       double imbalance = 1);

struct RankedLayout {
  parallel::MeshConfig mesh;
  double seconds = 0;  // of an update under the best schedule (`planned`) or the sequential one
  bool planned = false;
  std::string schedule;
  int64_t memory = 0;   // bytes of the rank with most
  std::string refused;  // why it is not among the ranked; empty: it is
};

struct LayoutSearch {
  std::vector<RankedLayout> ranked;   // fastest first
  std::vector<RankedLayout> refused;  // legal ones that do not fit, or that the machine has no lines for
  int64_t illegal = 0;                // that the recipe's shape does not allow
};

/// Every tensor, expert, expert_tensor and zero that the ranks allow. All are timed under the sequential schedule, the
/// fastest `planned` under the best one.
LayoutSearch search_layouts(const Recipe& recipe, int64_t vocabulary, const Machine& machine, const Cluster& cluster,
                            double imbalance = 1, int64_t planned = 12);

}  // namespace launch
