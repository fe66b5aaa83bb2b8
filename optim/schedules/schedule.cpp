#include "optim/schedules/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace optim {
namespace {

double share_done(int64_t update, int64_t begin, int64_t end) {
  if (end <= begin) return 1.0;
  return std::clamp(static_cast<double>(update - begin) / static_cast<double>(end - begin), 0.0, 1.0);
}

}  // namespace

Schedule resolve(const ScheduleConfig& config, int64_t length, const parallel::SpanScale& scale) {
  return {config.kind, to_updates(config.warmup, scale), to_updates(config.decay, scale), length, config.final_scale};
}

double learning_rate_scale(const Schedule& schedule, int64_t update) {
  const auto now = static_cast<double>(update + 1);
  if (update < schedule.warmup) return now / static_cast<double>(schedule.warmup);
  switch (schedule.kind) {
    case ScheduleKind::kCosine: {
      const double done = share_done(update, schedule.warmup, schedule.length);
      return schedule.final_scale + (1 - schedule.final_scale) * 0.5 * (1 + std::cos(std::numbers::pi * done));
    }
    case ScheduleKind::kInverseSqrt:
      return std::sqrt(static_cast<double>(std::max<int64_t>(schedule.warmup, 1)) / now);
    case ScheduleKind::kWarmupStableDecay: {
      const int64_t begin = std::max(schedule.warmup, schedule.length - schedule.decay);
      if (update < begin) return 1.0;
      return 1.0 + (schedule.final_scale - 1.0) * share_done(update, begin, schedule.length);
    }
    case ScheduleKind::kConstant:
      break;
  }
  return 1.0;
}

}  // namespace optim
