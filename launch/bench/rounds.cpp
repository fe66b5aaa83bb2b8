#include "launch/bench/rounds.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "parallel/base/fault.h"
#include "parallel/links/line_fit.h"

namespace launch {

Middle middle(std::vector<double> values) {
  parallel::check_internal(!values.empty(), "middle: no values");
  std::ranges::sort(values);
  const auto n = static_cast<double>(values.size());
  // The k-th smallest and k-th largest of n hold the true middle with 95 %, by the normal form of the binomial.
  const auto k = static_cast<size_t>(std::max(0.0, std::floor((n - 1.96 * std::sqrt(n)) / 2)));
  return {parallel::median(values), values[k], values[values.size() - 1 - k]};
}

nlohmann::ordered_json to_json(const Middle& middle) {
  return {{"median", middle.value}, {"low", middle.low}, {"high", middle.high}};
}

void Rounds::add(double seconds, double processor, int64_t faults,
                 const std::vector<std::pair<std::string, double>>& phases) {
  seconds_.push_back(seconds);
  processor_.push_back(processor);
  faults_ += faults;
  if (phases_.empty()) {
    phases_ = phases;
    return;
  }
  for (size_t i = 0; i < phases.size(); ++i) phases_[i].second += phases[i].second;
}

std::vector<std::pair<std::string, double>> Rounds::phases() const {
  std::vector<std::pair<std::string, double>> means = phases_;
  for (auto& [name, sum] : means) sum /= static_cast<double>(seconds_.size());
  return means;
}

double Rounds::page_faults() const {
  return static_cast<double>(faults_) / static_cast<double>(std::max<size_t>(1, seconds_.size()));
}

nlohmann::ordered_json Rounds::to_json() const {
  nlohmann::ordered_json of_phase = nlohmann::ordered_json::object();
  for (const auto& [name, mean] : phases()) of_phase[name] = mean;
  return {{"rounds", seconds_},
          {"processor_rounds", processor_},
          {"seconds", launch::to_json(middle(seconds_))},
          {"processor_seconds", launch::to_json(middle(processor_))},
          {"phases", of_phase},
          {"page_faults", page_faults()}};
}

}  // namespace launch
