// Progress -> multiplier of the peak learning rate, pure: a schedule is a row of a table, and says its curve, its keys
// and which of them are lengths of the run. defines: Course, Curve, ScheduleRule, Schedule, resolve,
// learning_rate_scale, share_done, builtin_schedules
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "optim/schedules/schedule_config.h"
#include "parallel/base/name_table.h"

namespace optim {

/// What a schedule knows of its run.
struct Course {
  int64_t warmup = 0;           // [updates]
  int64_t length = 1;           // [updates]
  parallel::SpanScale scale{};  // of other spans
};

/// The multiplier of an update (from 0) that comes after the warm-up.
using Curve = std::function<double(int64_t update)>;

struct ScheduleRule {
  Curve (*curve)(const ScheduleConfig& config, const Course& course) = nullptr;
  /// What only this one knows: its own table [schedule.NAME] in a recipe, and what it refuses of it.
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const ScheduleConfig& config) = nullptr;
  /// Those of its keys, spans, that the run must have room for beside the warm-up (check_lengths).
  std::vector<const char*> phases = {};
};

/// Of one run. The default is no warm-up, and 1 in every update.
struct Schedule {
  int64_t warmup = 0;  // [updates]
  Curve after_warmup = [](int64_t) { return 1.0; };
  int64_t begin = 0;  // updates of the run before it: a stage has a schedule of its own
};

/// length: of the run [updates].
Schedule resolve(const ScheduleConfig& config, const ScheduleRule& rule, int64_t length,
                 const parallel::SpanScale& scale);

/// The multiplier of update `update` of the run (from 0), u = update - begin of the schedule: (u + 1) / warmup in the
/// warm-up, then the curve's.
double learning_rate_scale(const Schedule& schedule, int64_t update);

/// How much of the updates from `begin` to `end` is done before `update`: 0 to 1.
double share_done(int64_t update, int64_t begin, int64_t end);

/// cosine: final + (1 - final) (1 + cos(pi p)) / 2 with p the share of the updates after the warm-up that is done;
/// inverse_sqrt: sqrt(warmup / (update + 1)); warmup_stable_decay (its header); constant: 1.
/// A program outside the tree adds its own rows.
parallel::NameTable<ScheduleRule> builtin_schedules();

}  // namespace optim
