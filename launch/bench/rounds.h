// Rounds of something, timed, and what they say.
// defines: Middle, middle, Rounds, to_json
#pragma once
#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "parallel/base/processor_time.h"
#include "parallel/memory/kept_memory.h"
#include "parallel/phases/phase.h"

namespace launch {

/// Middle of the rounds with a 95 % interval by order statistics.
struct Middle {
  double value = 0, low = 0, high = 0;
};
Middle middle(std::vector<double> values);
nlohmann::ordered_json to_json(const Middle& middle);

/// Rounds of one thing on this rank. Seconds of the processor are what a busy machine does not change; threads that
/// wait for each other compute too.
class Rounds {
 public:
  /// Times `action`; where `counts`, as a round, with its time by phases.
  template <class Action>
  void time(Action&& action, bool counts) {
    const int64_t faults = parallel::page_faults();
    const double processor = parallel::processor_seconds();
    parallel::PhaseClock phases;
    const auto begin = std::chrono::steady_clock::now();
    action();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (counts)
      add(seconds, parallel::processor_seconds() - processor, parallel::page_faults() - faults, phases.take());
  }

  const std::vector<double>& seconds() const { return seconds_; }
  const std::vector<double>& processor() const { return processor_; }
  /// [s] by phase, of one round the mean.
  std::vector<std::pair<std::string, double>> phases() const;
  /// Of one round the mean.
  double page_faults() const;
  /// Rounds, their middle, phases, faults.
  nlohmann::ordered_json to_json() const;

 private:
  void add(double seconds, double processor, int64_t faults, const std::vector<std::pair<std::string, double>>& phases);

  std::vector<double> seconds_, processor_;
  std::vector<std::pair<std::string, double>> phases_;  // sums
  int64_t faults_ = 0;
};

}  // namespace launch
