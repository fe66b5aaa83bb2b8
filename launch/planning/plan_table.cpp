#include "launch/planning/plan_table.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "launch/profiles/plan_file.h"
#include "parallel/base/fault.h"
#include "parallel/memory/kept_memory.h"

namespace launch {
namespace {

__attribute__((format(printf, 2, 3))) void append_line(std::string& text, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  char line[512];
  std::vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  text += line;
  text += '\n';
}

long long printed(int64_t value) { return value; }

double mebi(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

double share_of(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

struct MemoryRow {
  const char* kind;
  int64_t bytes;
  const char* what;
};
std::vector<MemoryRow> memory_rows(const MemoryUse& use) {
  return {{"weights", use.state.weights, ""},
          {"gradients", use.state.gradients, "kept between micro-batches"},
          {"reduction", use.reduction, "gradients that have come, and with ZeRO what arrives"},
          {"optimizer", use.state.optimizer, "its state; masters of bf16"},
          {"batch", use.batch, "tokens, tables of positions"},
          {"activations", use.activations, ""},
          {"dispatch", use.dispatch, "rows at experts and what those make of them"},
          {"head", use.head, "a chunk of logits, where the peak is in forward"}};
}

void append_groups(std::string& text, const LayoutPlan& plan) {
  append_line(text, "%-24s %6s  %-14s %s", "axis", "ranks", "link", "carries");
  for (const HostAxis& axis : plan.axes) {
    append_line(text, "%-24s %6lld  %-14s %s", axis.name.c_str(), printed(axis.ranks),
                axis.crosses ? "between hosts" : "inside a host", axis.what.c_str());
  }
  if (plan.axes.empty()) append_line(text, "one rank alone");
}

void append_memory(std::string& text, const PlanRequest& request, const LayoutPlan& plan) {
  append_line(text, "%-14s %14s %14s  %s", "memory of a rank", plan.imbalance > 1 ? "uneven, MiB" : "even, MiB",
              "bound, MiB", "");
  const auto even = memory_rows(plan.memory), bound = memory_rows(plan.bounded);
  for (size_t i = 0; i < even.size(); ++i) {
    append_line(text, "%-16s %14.2f %14.2f  %s", even[i].kind, mebi(even[i].bytes), mebi(bound[i].bytes), even[i].what);
  }
  append_line(text, "%-16s %14.2f %14.2f  of %.2f; peak in %s", "all", mebi(plan.memory.total()),
              mebi(plan.bounded.total()), request.machine.memory_gib * 1024, plan.memory.peak.c_str());
  if (request.recipe.run.keep_memory && request.recipe.run.device == Device::kCpu) {
    constexpr double kSurplus = parallel::KeptMemory::kSurplus;
    append_line(text, "%-16s %14.2f %14.2f  at most, beside it (run.keep_memory)", "kept",
                kSurplus * mebi(plan.memory.total()), kSurplus * mebi(plan.bounded.total()));
  }
  if (plan.memory.state.host > 0) {
    append_line(text, "%-16s %14.2f %14s  moments and masters of a rank (optimizer.offload)", "on the host",
                mebi(plan.memory.state.host), "");
    append_line(text, "%-16s %14.2f %14s  of the host too: what gradients and weights travel through", "pinned",
                mebi(plan.memory.state.pinned), "");
  }
  if (plan.imbalance > 1)
    append_line(text, "uneven: the busiest rank has %g times the mean one's rows", plan.imbalance);
  append_line(text,
              "bound: one rank takes in mesh.receive_bound = %g even shares at once in every layer; what is above goes "
              "in further passes",
              request.recipe.mesh.receive_bound);
}

void append_traffic(std::string& text, const LayoutPlan& plan) {
  append_line(text, "%-24s %20s  %s", "axis", "bytes an update", "all ranks together");
  for (const auto& [axis, traffic] : plan.traffic) {
    append_line(text, "%-24s %20lld  %s", axis.c_str(), printed(traffic.bytes),
                traffic.expects.empty() ? "exact" : ("if " + traffic.expects).c_str());
  }
}

void append_step(std::string& text, const LayoutPlan& plan) {
  const PlannedStep& step = plan.step;
  append_line(text, "update %.4g ms under the schedule \"%s\"; the wall: %s", 1e3 * step.seconds,
              step.plan.name.c_str(), to_string(plan.wall).c_str());
  const auto row = [&](const char* what, double seconds, double hidden) {
    append_line(text, "  %-28s %12.4g ms %6.1f %%   hidden behind compute %.4g ms", what, 1e3 * seconds,
                share_of(seconds, step.seconds), 1e3 * hidden);
  };
  append_line(text, "  %-28s %12.4g ms %6.1f %%", "compute", 1e3 * step.compute, share_of(step.compute, step.seconds));
  row("exposed, link inside hosts", step.exposed_inside, step.hidden_inside);
  row("exposed, link between hosts", step.exposed_between, step.hidden_between);
  append_line(text, "  %-28s %12.4g ms %6.1f %%", "idle", 1e3 * step.idle, share_of(step.idle, step.seconds));
  std::string others;
  for (const auto& [name, seconds] : plan.schedules) {
    others +=
        parallel::concat(others.empty() ? "" : ", ", name, " ", static_cast<double>(std::llround(1e6 * seconds)) / 1e3);
  }
  append_line(text, "schedules [ms]: %s", others.c_str());
}

/// Each resource as a strip of 100 cells: F and B compute forward and backward, > < rows out and back, = rows inside, g
/// gradients.
void append_timeline(std::string& text, const LayoutPlan& plan) {
  const parallel::Timeline& timeline = plan.step.timeline;
  if (timeline.seconds <= 0) return;
  constexpr int64_t kCells = 100;
  append_line(text,
              "timeline of the last micro-batch, %.4g ms; F B compute forward and backward, > < rows out and back, = "
              "rows in a host, g gradients",
              1e3 * timeline.seconds);
  for (const auto resource :
       {parallel::Resource::kCompute, parallel::Resource::kInsideHost, parallel::Resource::kBetweenHosts}) {
    std::string strip(kCells, '.');
    for (size_t i = 0; i < timeline.tasks.size(); ++i) {
      const parallel::Task& task = timeline.tasks[i];
      if (task.resource != resource) continue;
      using parallel::TaskKind;
      const bool forward = task.direction == parallel::Direction::kForward;
      const char mark = task.kind == TaskKind::kDispatch                                             ? '>'
                        : task.kind == TaskKind::kCombine                                            ? '<'
                        : task.kind == TaskKind::kGradient                                           ? 'g'
                        : task.kind == TaskKind::kAllGather || task.kind == TaskKind::kReduceScatter ? '='
                        : forward                                                                    ? 'F'
                                                                                                     : 'B';
      const double scale = static_cast<double>(kCells) / timeline.seconds;
      const auto begin = static_cast<int64_t>(timeline.times[i].begin * scale);
      const auto end = std::max(begin + 1, static_cast<int64_t>(timeline.times[i].end * scale));
      for (int64_t cell = begin; cell < std::min(end, kCells); ++cell) strip[static_cast<size_t>(cell)] = mark;
    }
    append_line(text, "%-14s %s", to_string(resource).c_str(), strip.c_str());
  }
}

nlohmann::ordered_json json_of(const MemoryUse& use) {
  nlohmann::ordered_json json;
  for (const MemoryRow& row : memory_rows(use)) json[row.kind] = row.bytes;
  json["total"] = use.total();
  json["peak"] = use.peak;
  json["on_host"] = use.state.host;
  json["pinned"] = use.state.pinned;
  return json;
}

nlohmann::ordered_json json_of(const parallel::Timeline& timeline) {
  nlohmann::ordered_json tasks = nlohmann::ordered_json::array();
  for (size_t i = 0; i < timeline.tasks.size(); ++i) {
    const parallel::Task& task = timeline.tasks[i];
    tasks.push_back({{"kind", to_string(task.kind)},
                     {"resource", to_string(task.resource)},
                     {"direction", task.direction == parallel::Direction::kForward ? "forward" : "backward"},
                     {"layer", task.layer},
                     {"chunk", task.chunk},
                     {"bytes", task.bytes},
                     {"begin", timeline.times[i].begin},
                     {"end", timeline.times[i].end}});
  }
  return tasks;
}

nlohmann::ordered_json json_of(const parallel::MeshConfig& mesh) {
  nlohmann::ordered_json json;
  for (const parallel::AxisRow& axis : parallel::axis_rows()) {
    if (axis.degree != nullptr) json[axis.name] = mesh.*axis.degree;
  }
  json["zero"] = mesh.zero;
  return json;
}

nlohmann::ordered_json json_of(const LayoutPlan& plan) {
  nlohmann::ordered_json json;
  json["layout"] = plan.work.mesh.describe();
  json["parameters"] = {{"total", plan.parameters.total},
                        {"active", plan.parameters.active},
                        {"trained", plan.parameters.trained},
                        {"of_a_rank", plan.parameters.elements()}};
  for (const HostAxis& axis : plan.axes) {
    json["groups"].push_back({{"axis", axis.name}, {"ranks", axis.ranks}, {"between_hosts", axis.crosses}});
  }
  json["memory"] = {{"imbalance", plan.imbalance},
                    {"expected", json_of(plan.memory)},
                    {"bound", json_of(plan.bounded)},
                    {"fits", plan.fits}};
  for (const auto& [axis, traffic] : plan.traffic) {
    json["traffic"][axis] = {{"bytes", traffic.bytes}, {"expects", traffic.expects}};
  }
  const PlannedStep& step = plan.step;
  json["step"] = {{"seconds", step.seconds},
                  {"compute", step.compute},
                  {"exposed_inside", step.exposed_inside},
                  {"exposed_between", step.exposed_between},
                  {"hidden_inside", step.hidden_inside},
                  {"hidden_between", step.hidden_between},
                  {"idle", step.idle},
                  {"schedules", plan.schedules},
                  {"plan", plan_to_json(step.plan)},
                  {"timeline", json_of(step.timeline)}};
  json["wall"] = to_string(plan.wall);
  json["assumptions"] = plan.assumptions;
  return json;
}

nlohmann::ordered_json json_of(const RankedLayout& layout) {
  nlohmann::ordered_json json = json_of(layout.mesh);
  json["memory"] = layout.memory;
  if (layout.refused.empty()) {
    json["seconds"] = layout.seconds;
    json["schedule"] = layout.schedule;
    json["planned"] = layout.planned;
  } else {
    json["refused"] = layout.refused;
  }
  return json;
}

}  // namespace

std::string plan_table(const PlanRequest& request, const LayoutPlan& plan) {
  std::string text;
  append_line(text, "%s, %lld hosts of %lld ranks", request.machine.name.c_str(), printed(request.cluster.hosts),
              printed(request.cluster.ranks_per_host));
  append_line(text, "%s, zero %lld", plan.work.mesh.describe().c_str(), printed(request.recipe.mesh.zero));
  const std::string trained =
      plan.parameters.trained < plan.parameters.total ? parallel::concat(", trained ", plan.parameters.trained) : "";
  append_line(text, "parameters %lld, active for a token %lld%s, on the rank with most %lld; vocabulary %lld\n",
              printed(plan.parameters.total), printed(plan.parameters.active), trained.c_str(),
              printed(plan.parameters.elements()), printed(request.vocabulary));
  append_groups(text, plan);
  text += '\n';
  append_memory(text, request, plan);
  text += '\n';
  append_traffic(text, plan);
  text += '\n';
  append_step(text, plan);
  append_timeline(text, plan);
  for (const std::string& assumption : plan.assumptions) append_line(text, "assumed: %s", assumption.c_str());
  return text;
}

std::string search_table(const LayoutSearch& search) {
  std::string text;
  append_line(text, "%6s %7s %14s %5s %14s %12s  %s", "tensor", "expert", "expert_tensor", "zero", "update, ms",
              "MiB a rank", "schedule");
  const auto row = [&](const RankedLayout& layout, const std::string& seconds, const std::string& last) {
    append_line(text, "%6lld %7lld %14lld %5lld %14s %12.2f  %s", printed(layout.mesh.tensor),
                printed(layout.mesh.expert), printed(layout.mesh.expert_tensor), printed(layout.mesh.zero),
                seconds.c_str(), mebi(layout.memory), last.c_str());
  };
  for (const RankedLayout& layout : search.ranked) {
    char seconds[32];
    std::snprintf(seconds, sizeof(seconds), "%.4g", 1e3 * layout.seconds);
    row(layout, seconds, layout.schedule + (layout.planned ? "" : " (no other was tried)"));
  }
  for (const RankedLayout& layout : search.refused) row(layout, "-", layout.refused);
  append_line(text, "%zu layouts ranked, %zu refused above, %lld that the recipe's shape does not allow",
              search.ranked.size(), search.refused.size(), printed(search.illegal));
  return text;
}

nlohmann::ordered_json plan_report_json(const PlanRequest& request, const LayoutPlan* plan,
                                        const LayoutSearch* search) {
  nlohmann::ordered_json json;
  json["machine"] = request.machine.name;
  json["hosts"] = request.cluster.hosts;
  json["ranks_per_host"] = request.cluster.ranks_per_host;
  json["vocabulary"] = request.vocabulary;
  json["mesh"] = json_of(request.recipe.mesh);
  if (plan != nullptr) json["plan"] = json_of(*plan);
  if (search == nullptr) return json;
  nlohmann::ordered_json ranked = nlohmann::ordered_json::array(), refused = ranked;
  for (const RankedLayout& layout : search->ranked) ranked.push_back(json_of(layout));
  for (const RankedLayout& layout : search->refused) refused.push_back(json_of(layout));
  json["search"] = {{"ranked", ranked}, {"refused", refused}, {"illegal", search->illegal}};
  return json;
}

}  // namespace launch
