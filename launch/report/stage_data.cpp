#include "launch/report/stage_data.h"

namespace launch::run_report {

nlohmann::ordered_json stage_data(const RunRecord& run) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const StageRecord& stage : run.stages) {
    all.push_back({{"name", stage.name},
                   {"number", stage.number},
                   {"stages", stage.stages},
                   {"step", stage.step},
                   {"updates", stage.updates},
                   {"surgery", stage.surgery},
                   {"model", stage.model},
                   {"total_parameters", stage.parameters.total},
                   {"active_parameters", stage.parameters.active},
                   {"trained_parameters", stage.parameters.trained},
                   {"carried", stage.carried}});
  }
  return all;
}

}  // namespace launch::run_report
