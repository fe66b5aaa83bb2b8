#include "optim/schedules/lengths.h"

#include <algorithm>
#include <string>
#include <vector>

#include "parallel/base/fault.h"

namespace optim {
namespace {

using parallel::concat;
using parallel::Span;
using parallel::Unit;

struct Phase {
  std::string section, key;  // "schedule.warmup_stable_decay", "decay"
  Span span;
};

std::vector<Phase> phases_of(ScheduleConfig config, const ScheduleRule& rule) {
  std::vector<Phase> phases{{"schedule", "warmup", config.warmup}};
  const std::vector<parallel::Field> own = rule.keys ? rule.keys(config.own_keys) : std::vector<parallel::Field>{};
  for (const char* key : rule.phases) {
    const auto field = std::ranges::find(own, key, &parallel::Field::key);
    parallel::check_internal(field != own.end() && std::holds_alternative<Span*>(field->value), "schedule '",
                             config.kind, "': its phase ", key, " is no span among its keys");
    phases.push_back({"schedule." + config.kind, key, *std::get<Span*>(field->value)});
  }
  return phases;
}

/// What spans are counted in: a unit that they share, or updates.
struct Measure {
  Unit unit = Unit::kUpdates;
  std::optional<parallel::SpanScale> scale;  // none: they share the unit

  int64_t count(const Span& span) const { return scale ? to_updates(span, *scale) : span.count; }
  std::string quoted(int64_t count) const { return concat('"', to_string(Span{count, unit}), '"'); }
  std::string describe(const Span& span) const {
    const std::string text = concat("(\"", to_string(span), '"');
    if (!scale) return text + ")";
    return concat(text, ": ", count(span), " updates of ", scale->tokens_per_update, " tokens)");
  }
};

void check_room(const std::vector<Phase>& phases, const Span& length, const Measure& measure) {
  int64_t all = 0;
  std::string names;
  for (const Phase& phase : phases) {
    all += measure.count(phase.span);
    names += concat(names.empty() ? "" : " and ", phase.section, ".", phase.key, " ", measure.describe(phase.span));
  }
  const int64_t room = measure.count(length);
  const Phase& last = phases.back();
  if (all <= room || last.span.count == 0) return;
  const int64_t rest = std::max<int64_t>(room - (all - measure.count(last.span)), 0);
  parallel::user_error(names, phases.size() > 1 ? " together are" : " is", " longer than train.length ",
                       measure.describe(length), "; nearest legal: ", last.key, " = ", measure.quoted(rest),
                       " or length = ", measure.quoted(all));
}

}  // namespace

void check_lengths(const ScheduleConfig& config, const ScheduleRule& rule, const Span& length,
                   const std::optional<parallel::SpanScale>& scale) {
  const auto check = [&](const std::vector<Phase>& phases) {
    const bool one_unit =
        std::ranges::all_of(phases, [&](const Phase& phase) { return phase.span.unit == length.unit; });
    if (one_unit) {
      check_room(phases, length, {.unit = length.unit, .scale = {}});
    } else if (scale) {
      check_room(phases, length, {.scale = scale});
    }
  };
  const std::vector<Phase> phases = phases_of(config, rule);
  for (const Phase& phase : phases) check({phase});
  if (phases.size() > 1) check(phases);
}

}  // namespace optim
