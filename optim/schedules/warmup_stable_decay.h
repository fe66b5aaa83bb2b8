// 1 after the warm-up, then linear to the final scale over the last updates.
// defines: WarmupStableDecayConfig, visit, warmup_stable_decay_rule
#pragma once
#include "optim/schedules/schedule.h"

namespace optim {

struct WarmupStableDecayConfig {
  parallel::Span decay{0, parallel::Unit::kUpdates};
};

template <class Visitor>
void visit(WarmupStableDecayConfig& config, Visitor& field) {
  field("decay", config.decay, parallel::anything(), "length of the final fall, to final_scale");
}

/// A decay longer than what follows the warm-up begins right behind that.
ScheduleRule warmup_stable_decay_rule();

}  // namespace optim
