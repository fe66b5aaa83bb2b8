#include "launch/profiles/trace_file.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/profiles/json_members.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using parallel::Direction;
using parallel::Resource;
using parallel::TaskKind;
using parallel::user_error;

constexpr auto kLargestFile = std::streamoff{1} << 25;
constexpr int kDeepest = 8;                   // of objects and lists in each other
constexpr int64_t kThreadsOfResource = 1000;  // numbers of threads: a resource's thousand, and the lane in it
constexpr double kLongest = 1e15;             // [us] of what is believed
const std::string kFormat = "moetrain step, 1";

constexpr TaskKind kKinds[] = {TaskKind::kDispatch,      TaskKind::kAllGather,      TaskKind::kExperts,
                               TaskKind::kInputGradient, TaskKind::kWeightGradient, TaskKind::kReduceScatter,
                               TaskKind::kCombine,       TaskKind::kDense,          TaskKind::kGradient};
constexpr Resource kAllResources[] = {Resource::kCompute, Resource::kInsideHost, Resource::kBetweenHosts};
constexpr const char* kThreadNames[] = {"compute", "link inside the host", "link between hosts"};

std::string name_of(Direction direction) { return direction == Direction::kForward ? "forward" : "backward"; }

/// To a thousandth: a nanosecond.
double microseconds(double seconds) { return std::round(seconds * 1e9) / 1e3; }

/// The first lane of its resource that is free, so that what overlaps on a link stands in lanes of its own.
class LanePicker {
 public:
  /// Moves `begin` to where the task before ends, if rounding alone made them overlap.
  int64_t lane(Resource resource, double& begin, double end) {
    constexpr double kRounding = 0.002;  // [us]
    std::vector<double>& ends = ends_[static_cast<size_t>(resource)];
    const auto free = std::ranges::find_if(ends, [&](double busy_until) { return busy_until <= begin + kRounding; });
    const auto lane = free - ends.begin();
    if (free == ends.end()) ends.push_back(begin);
    double& busy_until = ends[static_cast<size_t>(lane)];
    begin = std::max(begin, busy_until);
    busy_until = std::max(begin, end);
    return static_cast<int64_t>(lane);
  }
  int64_t lanes(Resource resource) const { return static_cast<int64_t>(ends_[static_cast<size_t>(resource)].size()); }

 private:
  std::array<std::vector<double>, parallel::kResources> ends_;
};

int64_t thread_of(Resource resource, int64_t lane) {
  return static_cast<int64_t>(resource) * kThreadsOfResource + lane;
}

ordered_json named(const char* what, int64_t process, int64_t thread, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

void add_process(ordered_json& events, int64_t process, const std::string& name, const StepTrace& step) {
  events.push_back(named("process_name", process, 0, name));
  events.push_back(
      {{"name", "process_sort_index"}, {"ph", "M"}, {"pid", process}, {"tid", 0}, {"args", {{"sort_index", process}}}});
  LanePicker lanes;
  for (const StepTask& task : step.tasks) {
    double begin = microseconds(task.begin);
    const double end = microseconds(task.end);
    const int64_t lane = lanes.lane(task.resource, begin, end);
    const std::string place =
        task.layer >= 0 ? parallel::concat(" ", task.layer, ".", task.chunk) : parallel::concat(" ", task.chunk);
    events.push_back({{"name", to_string(task.kind) + place},
                      {"cat", to_string(task.kind)},
                      {"ph", "X"},
                      {"pid", process},
                      {"tid", thread_of(task.resource, lane)},
                      {"ts", begin},
                      {"dur", std::max(0.0, std::round((end - begin) * 1e3) / 1e3)},
                      {"args",
                       {{"kind", to_string(task.kind)},
                        {"resource", to_string(task.resource)},
                        {"direction", name_of(task.direction)},
                        {"layer", task.layer},
                        {"chunk", task.chunk},
                        {"bytes", task.bytes},
                        {"rows", task.rows}}}});
  }
  for (const Resource resource : kAllResources) {
    for (int64_t lane = 0; lane < std::max<int64_t>(1, lanes.lanes(resource)); ++lane) {
      const std::string number = lane == 0 ? "" : parallel::concat(", ", lane + 1);
      const int64_t thread = thread_of(resource, lane);
      events.push_back(named("thread_name", process, thread, kThreadNames[static_cast<size_t>(resource)] + number));
      events.push_back({{"name", "thread_sort_index"},
                        {"ph", "M"},
                        {"pid", process},
                        {"tid", thread},
                        {"args", {{"sort_index", thread}}}});
    }
  }
}

/// One of a few values, as its name in a file.
template <class Value, size_t n, class NameOf>
Value one_of_names(JsonMembers& members, const char* key, const Value (&values)[n], NameOf&& name) {
  std::string found;
  members.text(key, found);
  std::vector<std::string> names;
  for (const Value value : values) {
    names.push_back(name(value));
    if (found == names.back()) return value;
  }
  members.refuse(key, found, "one of " + parallel::list_names(names));
}

double bounded(JsonMembers& members, const char* key, double low) {
  double value = 0;
  members.number(key, low, value);
  if (value > kLongest) members.refuse(key, value, parallel::concat("a number, at most ", kLongest));
  return value;
}

StepTask task_from(JsonMembers& event, const json& arguments, const std::string& place) {
  JsonMembers members(arguments, place + ": args");
  StepTask task;
  task.kind = one_of_names(members, "kind", kKinds, [](TaskKind kind) { return to_string(kind); });
  task.resource = one_of_names(members, "resource", kAllResources, [](Resource each) { return to_string(each); });
  constexpr Direction kDirections[] = {Direction::kForward, Direction::kBackward};
  task.direction = one_of_names(members, "direction", kDirections, name_of);
  members.integer("layer", -1, task.layer);
  members.integer("chunk", 0, task.chunk);
  task.bytes = bounded(members, "bytes", 0);
  members.integer("rows", 0, task.rows);
  members.refuse_others();
  task.begin = bounded(event, "ts", 0) * 1e-6;
  task.end = task.begin + bounded(event, "dur", 0) * 1e-6;
  return task;
}

StepRecording recording_from(const json& object, const std::string& place) {
  JsonMembers file(object, place);
  const json* head = file.take("otherData");
  const json* events = file.take("traceEvents");
  if (head == nullptr || events == nullptr || !events->is_array() || !head->is_object() ||
      head->value("format", json()) != kFormat) {
    user_error(place, ": not a trace that moetrain wrote (otherData.format is not \"", kFormat, "\")");
  }
  JsonMembers of_head(*head, place + ": otherData");
  StepRecording recording;
  of_head.take("format");
  of_head.integer("update", 0, recording.update);
  bool predicted = false;
  of_head.boolean("predicted", predicted);
  const json* processes = of_head.take("processes");
  if (processes == nullptr || !processes->is_array() || processes->size() < (predicted ? 2U : 1U)) {
    user_error(place, ": otherData: processes must list those of the trace");
  }
  std::vector<StepTrace> steps;
  for (const json& each : *processes) {
    JsonMembers members(each, place + ": otherData: processes");
    StepTrace& step = steps.emplace_back();
    step.last_begin = bounded(members, "last_begin", 0) * 1e-6;
    step.seconds = bounded(members, "end", 0) * 1e-6;
    members.refuse_others();
  }
  for (size_t i = 0; i < events->size(); ++i) {
    const json& event = (*events)[i];
    const std::string at = parallel::concat(place, ": traceEvents[", i, "]");
    if (!event.is_object()) user_error(at, ": ", quoted(event), " is no object with keys");
    if (event.value("ph", json()) != "X") continue;
    JsonMembers members(event, at);
    int64_t process = -1;
    members.integer("pid", 0, process);
    const json* arguments = members.take("args");
    if (process < 0 || process >= static_cast<int64_t>(steps.size()) || arguments == nullptr) {
      user_error(at, ": a task needs args, and as pid one of ", steps.size(), " processes");
    }
    steps[static_cast<size_t>(process)].tasks.push_back(task_from(members, *arguments, at));
  }
  for (StepTrace& step : steps) std::ranges::stable_sort(step.tasks, {}, &StepTask::begin);
  if (predicted) {
    recording.predicted = std::move(steps.back());
    steps.pop_back();
  }
  recording.ranks = std::move(steps);
  return recording;
}

}  // namespace

std::string to_text(const StepTrace& step) {
  json tasks = json::array();
  for (const StepTask& task : step.tasks) {
    tasks.push_back({static_cast<int>(task.kind), static_cast<int>(task.resource), static_cast<int>(task.direction),
                     task.layer, task.chunk, task.bytes, task.rows, task.begin, task.end});
  }
  return json{step.last_begin, step.seconds, tasks}.dump();
}

StepTrace step_from_text(const std::string& text) {
  const json step = json::parse(text);
  StepTrace result{.last_begin = step.at(0), .seconds = step.at(1)};
  for (const json& task : step.at(2)) {
    result.tasks.push_back({.kind = static_cast<TaskKind>(task.at(0).get<int>()),
                            .resource = static_cast<Resource>(task.at(1).get<int>()),
                            .direction = static_cast<Direction>(task.at(2).get<int>()),
                            .layer = task.at(3),
                            .chunk = task.at(4),
                            .bytes = task.at(5),
                            .rows = task.at(6),
                            .begin = task.at(7),
                            .end = task.at(8)});
  }
  return result;
}

std::string trace_to_text(const StepRecording& recording) {
  std::vector<std::pair<std::string, const StepTrace*>> processes;
  size_t tasks = recording.predicted ? recording.predicted->tasks.size() : 0;
  for (const StepTrace& step : recording.ranks) {
    tasks += step.tasks.size();
    if (!processes.empty() && tasks > kMostTracedTasks) break;
    processes.emplace_back(parallel::concat("rank ", processes.size()), &step);
  }
  if (recording.predicted) processes.emplace_back("predicted", &*recording.predicted);
  ordered_json events = ordered_json::array(), ends = ordered_json::array();
  for (size_t i = 0; i < processes.size(); ++i) {
    const auto& [name, step] = processes[i];
    add_process(events, static_cast<int64_t>(i), name, *step);
    ends.push_back({{"last_begin", microseconds(step->last_begin)}, {"end", microseconds(step->seconds)}});
  }
  const ordered_json file{{"displayTimeUnit", "ms"},
                          {"otherData",
                           {{"format", kFormat},
                            {"update", recording.update},
                            {"predicted", recording.predicted.has_value()},
                            {"processes", ends}}},
                          {"traceEvents", events}};
  return file.dump() + "\n";
}

StepRecording read_trace(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() > kLargestFile) {
    user_error(path.string(), file ? ": too large for a trace" : ": cannot be read");
  }
  std::string text(static_cast<size_t>(file.tellg()), '\0');
  file.seekg(0);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) user_error(path.string(), ": nested too deeply for a trace");
    return true;
  };
  const json object = json::parse(text, shallow, /*allow_exceptions=*/false);
  if (!file || object.is_discarded()) user_error(path.string(), ": is not JSON");
  return recording_from(object, path.string());
}

}  // namespace launch
