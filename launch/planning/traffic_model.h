// Bytes that one update moves over each axis, all ranks together: the closed forms of parallel/README.md.
// defines: AxisTraffic, TrafficOptions, traffic_of
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "launch/planning/parameter_table.h"
#include "launch/planning/workload.h"

namespace launch {

struct AxisTraffic {
  int64_t bytes = 0;
  std::string expects;  // what the number takes for granted; empty: it is what will be counted
};

struct TrafficOptions {
  /// Choices, of all blocks and micro-batches, whose expert is on another rank of the expert axis; below 0: choices
  /// are spread evenly over all experts.
  int64_t crossing = -1;
  int64_t control_numbers = 3;  // targets, interrupt, failure; 1 where a step is made without a trainer
};

/// By axis as the ledger names it; an axis that moves nothing is absent. `parameters`: of any rank.
std::map<std::string, AxisTraffic> traffic_of(const Recipe& recipe, const ParameterTable& parameters,
                                              const Workload& work, const TrafficOptions& options = {});

}  // namespace launch
