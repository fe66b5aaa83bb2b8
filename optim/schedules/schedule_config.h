// defines: ScheduleKind, ScheduleConfig, visit
#pragma once
#include <array>

#include "parallel/base/field.h"
#include "parallel/base/span.h"

namespace optim {

/// After the warm-up (learning_rate_scale).
enum class ScheduleKind { kCosine, kInverseSqrt, kWarmupStableDecay, kConstant };
constexpr std::array<const char*, 4> names_of(ScheduleKind) {
  return {"cosine", "inverse_sqrt", "warmup_stable_decay", "constant"};
}

/// How the learning rate moves over a run, as a multiplier of its peak.
struct ScheduleConfig {
  parallel::Enum<ScheduleKind> kind = ScheduleKind::kCosine;
  parallel::Span warmup{100, parallel::Unit::kUpdates};
  parallel::Span decay{0, parallel::Unit::kUpdates};
  double final_scale = 0.1;
};

template <class Visitor>
void visit(ScheduleConfig& config, Visitor& field) {
  using namespace parallel;
  field("kind", config.kind, anything(), "shape after the warm-up");
  field("warmup", config.warmup, anything(), "linear rise from 0");
  field("decay", config.decay, anything(), "length of the final fall of warmup_stable_decay");
  field("final_scale", config.final_scale, between(0, 1), "multiplier at the end of cosine and warmup_stable_decay");
}

}  // namespace optim
