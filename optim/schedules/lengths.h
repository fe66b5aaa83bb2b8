// defines: check_lengths: whether the phases of a schedule have room in the run
#pragma once
#include <optional>

#include "optim/schedules/schedule.h"

namespace optim {

/// That the warm-up, each phase of the rule, and all of them together are no longer than `length` (train.length).
/// Spans in one unit are compared in that unit, without rounding; others in updates, which takes the `scale`: without
/// one they are left unchecked. UserError for the first that is too long, with the nearest legal lengths.
void check_lengths(const ScheduleConfig& config, const ScheduleRule& rule, const parallel::Span& length,
                   const std::optional<parallel::SpanScale>& scale = std::nullopt);

}  // namespace optim
