// defines: ScheduleConfig, visit
#pragma once
#include <string>

#include "parallel/base/own_keys.h"

namespace optim {

/// How the learning rate moves over a run, as a multiplier of its peak.
struct ScheduleConfig : parallel::HasOwnKeys {
  std::string kind = "cosine";  // a name of builtin_schedules(), or of a table that has more
  parallel::Span warmup{100, parallel::Unit::kUpdates};
  double final_scale = 0.1;
};

template <class Visitor>
void visit(ScheduleConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(), "shape after the warm-up");
  field("warmup", config.warmup, anything(), "linear rise from 0");
  field("final_scale", config.final_scale, between(0, 1), "multiplier at the end of cosine and warmup_stable_decay");
}

}  // namespace optim
