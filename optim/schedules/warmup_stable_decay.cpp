#include "optim/schedules/warmup_stable_decay.h"

#include <algorithm>

namespace optim {
namespace {

Curve stable_then_linear(const ScheduleConfig& config, const Course& course) {
  const int64_t decay = to_updates(config.own<WarmupStableDecayConfig>().decay, course.scale);
  const int64_t begin = std::max(course.warmup, course.length - decay);
  return [=, last = config.final_scale, end = course.length](int64_t update) {
    return update < begin ? 1.0 : 1.0 + (last - 1.0) * share_done(update, begin, end);
  };
}

}  // namespace

ScheduleRule warmup_stable_decay_rule() {
  return {.curve = stable_then_linear, .keys = parallel::own_keys_of<WarmupStableDecayConfig>, .phases = {"decay"}};
}

}  // namespace optim
