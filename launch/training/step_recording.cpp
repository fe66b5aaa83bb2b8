#include "launch/training/step_recording.h"

#include <algorithm>

#include "parallel/comm/agreement.h"

namespace launch {
namespace {

SharesRecord record_of(const StepShares& shares) {
  const auto busy = [&](parallel::Resource resource) { return shares.busy[static_cast<size_t>(resource)]; };
  return {.seconds = shares.seconds,
          .exposed = shares.exposed,
          .hidden = shares.hidden,
          .compute = busy(parallel::Resource::kCompute),
          .inside_host = busy(parallel::Resource::kInsideHost),
          .between_hosts = busy(parallel::Resource::kBetweenHosts)};
}

}  // namespace

StepRecording gather_recording(const parallel::Trace& trace, int64_t update, const Overlap& overlap,
                               const Groups& groups) {
  const parallel::Schedule& schedule = *groups.mesh->schedule();
  const StepTrace own = measured_step(trace, schedule.layers(), schedule.plan().one_link);
  const std::vector<std::string> texts = parallel::gather_texts(*groups.control, to_text(own));
  StepRecording recording{.update = update, .ranks = {}, .predicted = std::nullopt};
  if (groups.control->rank() != 0) return recording;
  for (const std::string& text : texts) recording.ranks.push_back(step_from_text(text));
  if (const auto timeline = overlap.predicted()) {
    recording.predicted =
        predicted_step(*timeline, overlap.profile()->layer_of_call, schedule.layers(), own.last_begin);
  }
  return recording;
}

TraceRecord summary_of(const StepRecording& recording) {
  TraceRecord record{.step = recording.update, .seconds = 0, .exposed = 0, .hidden = 0};
  const auto count = static_cast<double>(std::max<size_t>(1, recording.ranks.size()));
  for (const StepTrace& step : recording.ranks) {
    record.ranks.push_back(record_of(shares_of(step)));
    const SharesRecord& shares = record.ranks.back();
    record.seconds = std::max(record.seconds, shares.seconds);
    record.exposed += shares.exposed / count;
    record.hidden += shares.hidden / count;
  }
  if (recording.predicted) record.predicted = record_of(shares_of(*recording.predicted));
  return record;
}

}  // namespace launch
