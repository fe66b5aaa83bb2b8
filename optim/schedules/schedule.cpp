#include "optim/schedules/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "optim/schedules/warmup_stable_decay.h"

namespace optim {
namespace {

Curve cosine(const ScheduleConfig& config, const Course& course) {
  return [last = config.final_scale, course](int64_t update) {
    const double done = share_done(update, course.warmup, course.length);
    return last + (1 - last) * 0.5 * (1 + std::cos(std::numbers::pi * done));
  };
}

Curve inverse_sqrt(const ScheduleConfig&, const Course& course) {
  return [from = static_cast<double>(std::max<int64_t>(course.warmup, 1))](int64_t update) {
    return std::sqrt(from / static_cast<double>(update + 1));
  };
}

Curve constant(const ScheduleConfig&, const Course&) { return Schedule{}.after_warmup; }

}  // namespace

double share_done(int64_t update, int64_t begin, int64_t end) {
  if (end <= begin) return 1.0;
  return std::clamp(static_cast<double>(update - begin) / static_cast<double>(end - begin), 0.0, 1.0);
}

Schedule resolve(const ScheduleConfig& config, const ScheduleRule& rule, int64_t length,
                 const parallel::SpanScale& scale) {
  const Course course{.warmup = to_updates(config.warmup, scale), .length = length, .scale = scale};
  return {.warmup = course.warmup, .after_warmup = rule.curve(config, course)};
}

double learning_rate_scale(const Schedule& schedule, int64_t update) {
  update -= schedule.begin;
  if (update < schedule.warmup) return static_cast<double>(update + 1) / static_cast<double>(schedule.warmup);
  return schedule.after_warmup(update);
}

parallel::NameTable<ScheduleRule> builtin_schedules() {
  return {"schedule",
          {{"cosine", {.curve = cosine}},
           {"inverse_sqrt", {.curve = inverse_sqrt}},
           {"warmup_stable_decay", warmup_stable_decay_rule()},
           {"constant", {.curve = constant}}}};
}

}  // namespace optim
