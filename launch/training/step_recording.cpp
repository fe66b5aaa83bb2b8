#include "launch/training/step_recording.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "parallel/comm/agreement.h"

namespace launch {
namespace {

nlohmann::json to_json(const StepShares& shares) {
  nlohmann::json json{{"seconds", shares.seconds}, {"exposed", shares.exposed}, {"hidden", shares.hidden}};
  for (size_t r = 0; r < shares.busy.size(); ++r) {
    json[to_string(static_cast<parallel::Resource>(r))] = shares.busy[r];
  }
  return json;
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

nlohmann::json summary_of(const StepRecording& recording) {
  double slowest = 0, exposed = 0, hidden = 0;
  nlohmann::json ranks = nlohmann::json::array();
  for (const StepTrace& step : recording.ranks) {
    const StepShares shares = shares_of(step);
    slowest = std::max(slowest, shares.seconds);
    exposed += shares.exposed;
    hidden += shares.hidden;
    ranks.push_back(to_json(shares));
  }
  const auto count = static_cast<double>(std::max<size_t>(1, recording.ranks.size()));
  nlohmann::json fields{{"step", recording.update}, {"seconds", slowest}, {"exposed", exposed / count},
                        {"hidden", hidden / count}, {"ranks", ranks},     {"predicted", nullptr}};
  if (recording.predicted) fields["predicted"] = to_json(shares_of(*recording.predicted));
  return fields;
}

}  // namespace launch
