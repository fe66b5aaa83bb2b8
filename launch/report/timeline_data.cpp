#include "launch/report/timeline_data.h"

#include <algorithm>
#include <string>

#include "parallel/base/fault.h"

namespace launch::run_report {
namespace {

using Json = nlohmann::ordered_json;

Json shares_json(const StepShares& shares) {
  Json json{{"seconds", shares.seconds}, {"exposed", shares.exposed}, {"hidden", shares.hidden}};
  for (size_t r = 0; r < shares.busy.size(); ++r) {
    json[to_string(static_cast<parallel::Resource>(r))] = shares.busy[r];
  }
  return json;
}

/// Those that end in the last micro-batch, the longest of them, by begin.
std::vector<StepTask> drawn_tasks(const StepTrace& step, size_t& left_out) {
  std::vector<StepTask> tasks;
  for (const StepTask& task : step.tasks) {
    if (task.end > step.last_begin && task.begin < step.seconds) tasks.push_back(task);
  }
  if (tasks.size() <= kDrawnTasks) return tasks;
  left_out += tasks.size() - kDrawnTasks;
  std::ranges::nth_element(tasks, tasks.begin() + static_cast<int64_t>(kDrawnTasks),
                           [](const StepTask& a, const StepTask& b) { return a.end - a.begin > b.end - b.begin; });
  tasks.resize(kDrawnTasks);
  std::ranges::stable_sort(tasks, {}, &StepTask::begin);
  return tasks;
}

Json process_json(const std::string& name, const StepTrace& step, size_t& left_out) {
  const auto milliseconds = [&](double at) {
    return 1e3 * (std::clamp(at, step.last_begin, step.seconds) - step.last_begin);
  };
  Json tasks = Json::array();
  for (const StepTask& task : drawn_tasks(step, left_out)) {
    tasks.push_back({{"kind", to_string(task.kind)},
                     {"lane", static_cast<int64_t>(task.resource)},
                     {"direction", task.direction == parallel::Direction::kForward ? "forward" : "backward"},
                     {"layer", task.layer},
                     {"chunk", task.chunk},
                     {"bytes", task.bytes},
                     {"rows", task.rows},
                     {"begin", milliseconds(task.begin)},
                     {"end", milliseconds(task.end)}});
  }
  return {
      {"name", name}, {"end", milliseconds(step.seconds)}, {"shares", shares_json(shares_of(step))}, {"tasks", tasks}};
}

StepShares mean_shares(const std::vector<StepTrace>& steps) {
  StepShares mean;
  const auto part = 1 / static_cast<double>(std::max<size_t>(1, steps.size()));
  for (const StepTrace& step : steps) {
    const StepShares shares = shares_of(step);
    mean.seconds += part * shares.seconds;
    mean.exposed += part * shares.exposed;
    mean.hidden += part * shares.hidden;
    for (size_t r = 0; r < mean.busy.size(); ++r) mean.busy[r] += part * shares.busy[r];
  }
  return mean;
}

/// The number of expert layers: what no layer but the head's reaches.
int64_t layers_of(const StepRecording& recording) {
  int64_t layers = 0;
  for (const StepTrace& step : recording.ranks) {
    for (const StepTask& task : step.tasks) {
      if (task.kind != parallel::TaskKind::kDense) layers = std::max(layers, task.layer + 1);
    }
  }
  return layers;
}

}  // namespace

nlohmann::ordered_json timeline_data(const StepRecording& recording) {
  size_t left_out = 0;
  Json ranks = Json::array();
  for (size_t r = 0; r < std::min(kDrawnRanks, recording.ranks.size()); ++r) {
    ranks.push_back(process_json(parallel::concat("rank ", r), recording.ranks[r], left_out));
  }
  Json data{{"update", recording.update},
            {"layers", layers_of(recording)},
            {"rank_count", recording.ranks.size()},
            {"ranks", ranks},
            {"mean", shares_json(mean_shares(recording.ranks))},
            {"predicted", nullptr}};
  if (recording.predicted) data["predicted"] = process_json("predicted", *recording.predicted, left_out);
  data["left_out"] = left_out;
  return data;
}

}  // namespace launch::run_report
