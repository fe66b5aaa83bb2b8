#include "parallel/schedule/simulate.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <numeric>
#include <queue>
#include <sstream>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// Starts tasks in order of their begin: what becomes ready later cannot overtake what has been started.
class Simulation {
 public:
  Simulation(const std::vector<Task>& tasks, InsideOrder inside)
      : tasks_(tasks), inside_(inside), times_(tasks.size()), ready_(tasks.size(), 0), missing_(tasks.size(), 0) {
    link_successors();
    for (size_t i = 0; i < tasks_.size(); ++i) {
      if (!by_readiness(i)) listed_[resource(i)].push_back(i);
      if (missing_[i] == 0 && by_readiness(i)) waiting_.emplace(0.0, i);
    }
  }

  std::vector<Interval> run() {
    for (size_t started = 0; started < tasks_.size(); ++started) {
      const size_t next = earliest();
      check_internal(next < tasks_.size(), "simulate: ", tasks_.size() - started, " tasks wait for each other");
      start(next);
    }
    return std::move(times_);
  }

 private:
  size_t resource(size_t i) const { return static_cast<size_t>(tasks_[i].resource); }
  bool by_readiness(size_t i) const {
    return inside_ == InsideOrder::kReady && tasks_[i].resource == Resource::kInsideHost;
  }

  /// successors_[first_[i] .. first_[i + 1]] wait for task i.
  void link_successors() {
    first_.assign(tasks_.size() + 1, 0);
    for (const Task& task : tasks_) {
      for (const int64_t before : task.after) {
        if (before >= 0) ++first_[static_cast<size_t>(before) + 1];
      }
    }
    std::partial_sum(first_.begin(), first_.end(), first_.begin());
    successors_.resize(first_.back());
    std::vector<size_t> next(first_.begin(), first_.end() - 1);
    for (size_t i = 0; i < tasks_.size(); ++i) {
      for (const int64_t before : tasks_[i].after) {
        if (before < 0) continue;
        successors_[next[static_cast<size_t>(before)]++] = i;
        ++missing_[i];
      }
    }
  }

  /// The task that can begin first, or the number of tasks where none can.
  size_t earliest() const {
    size_t best = tasks_.size();
    double begin = std::numeric_limits<double>::infinity();
    const auto offer = [&](size_t i) {
      const double at = std::max(free_[resource(i)], ready_[i]);
      if (at < begin) best = i, begin = at;
    };
    for (size_t r = 0; r < listed_.size(); ++r) {
      if (head_[r] < listed_[r].size() && missing_[listed_[r][head_[r]]] == 0) offer(listed_[r][head_[r]]);
    }
    if (!waiting_.empty()) offer(waiting_.top().second);
    return best;
  }

  void start(size_t i) {
    if (by_readiness(i)) {
      waiting_.pop();
    } else {
      ++head_[resource(i)];
    }
    const double begin = std::max(free_[resource(i)], ready_[i]);
    times_[i] = {begin, begin + tasks_[i].seconds};
    free_[resource(i)] = times_[i].end;
    for (size_t at = first_[i]; at < first_[i + 1]; ++at) {
      const size_t after = successors_[at];
      ready_[after] = std::max(ready_[after], times_[i].end);
      if (--missing_[after] == 0 && by_readiness(after)) waiting_.emplace(ready_[after], after);
    }
  }

  const std::vector<Task>& tasks_;
  InsideOrder inside_;
  std::vector<Interval> times_;
  std::vector<double> ready_;    // when the last task before it ends, as far as known
  std::vector<size_t> missing_;  // tasks before it that have not been started
  std::vector<size_t> first_, successors_;
  std::array<std::vector<size_t>, kResources> listed_;
  std::array<size_t, kResources> head_{};
  std::array<double, kResources> free_{};
  using Waiting = std::pair<double, size_t>;
  std::priority_queue<Waiting, std::vector<Waiting>, std::greater<>> waiting_;  // by readiness
};

constexpr int64_t kContentionRounds = 8;

}  // namespace

std::vector<Interval> busy(const Timeline& timeline, const std::vector<Resource>& resources) {
  std::vector<Interval> spans;
  for (size_t i = 0; i < timeline.tasks.size(); ++i) {
    const bool counts = std::ranges::find(resources, timeline.tasks[i].resource) != resources.end();
    if (counts) spans.push_back(timeline.times[i]);
  }
  return joined(std::move(spans));
}

Timeline simulate(std::vector<Task> tasks, InsideOrder inside) {
  Timeline timeline;
  timeline.times = Simulation(tasks, inside).run();
  timeline.tasks = std::move(tasks);
  for (const Interval& time : timeline.times) timeline.seconds = std::max(timeline.seconds, time.end);
  return timeline;
}

Timeline simulate_contended(const std::vector<Task>& tasks, const Contention& contention) {
  Timeline timeline = simulate(tasks);
  const bool contended = contention.compute > 0 || contention.link > 0;
  for (int64_t round = 0; contended && round < kContentionRounds; ++round) {
    const std::vector<Interval> compute = busy(timeline, {Resource::kCompute}),
                                links = busy(timeline, {Resource::kInsideHost, Resource::kBetweenHosts});
    std::vector<Task> longer = tasks;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const bool computes = tasks[i].resource == Resource::kCompute;
      const double span = timeline.times[i].end - timeline.times[i].begin;
      const double beside = span > 0 ? length_of_both({timeline.times[i]}, computes ? links : compute) / span : 0;
      // Beside the other it does 1 / (1 + share) of a second's work in a second.
      const double share = computes ? contention.compute : contention.link;
      longer[i].seconds /= 1 - beside * share / (1 + share);
    }
    const double before = timeline.seconds;
    timeline = simulate(std::move(longer));
    if (std::abs(timeline.seconds - before) <= 1e-4 * before) break;
  }
  return timeline;
}

std::string to_text(const Timeline& timeline) {
  std::vector<size_t> order(timeline.tasks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return timeline.times[a].begin < timeline.times[b].begin; });
  std::ostringstream text;
  text << "  begin ms     end ms  resource       direction  task             layer  chunk         bytes\n"
       << std::fixed;
  for (const size_t i : order) {
    const Task& task = timeline.tasks[i];
    const char* direction = task.direction == Direction::kForward ? "forward" : "backward";
    text << std::right << std::setprecision(4) << std::setw(10) << 1e3 * timeline.times[i].begin << std::setw(11)
         << 1e3 * timeline.times[i].end << "  " << std::left << std::setw(15) << to_string(task.resource)
         << std::setw(11) << direction << std::setw(17) << to_string(task.kind) << std::right << std::setw(5)
         << task.layer << std::setw(7) << task.chunk << std::setprecision(0) << std::setw(14) << task.bytes << "\n";
  }
  text << std::setprecision(4) << "step " << 1e3 * timeline.seconds << " ms\n";
  return text.str();
}

}  // namespace parallel
