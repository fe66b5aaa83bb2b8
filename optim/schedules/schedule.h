// defines: Schedule, learning_rate_scale: progress -> multiplier of the peak learning rate, pure
#pragma once
#include <cstdint>

#include "optim/schedules/schedule_config.h"
#include "parallel/base/span.h"

namespace optim {

/// A ScheduleConfig in updates.
struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t warmup = 0;
  int64_t decay = 0;
  int64_t length = 1;
  double final_scale = 0;
};

Schedule resolve(const ScheduleConfig& config, int64_t length, const parallel::SpanScale& scale);

/// The multiplier of update `update` (from 0). Warm-up: (update + 1) / warmup. Then
/// cosine: final + (1 - final) (1 + cos(pi p)) / 2 with p the share of the rest that is done;
/// inverse_sqrt: sqrt(warmup / (update + 1)); warmup_stable_decay: 1, then linear to final over the last `decay`.
double learning_rate_scale(const Schedule& schedule, int64_t update);

}  // namespace optim
