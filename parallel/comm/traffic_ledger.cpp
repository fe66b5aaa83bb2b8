#include "parallel/comm/traffic_ledger.h"

namespace parallel {

Traffic& Traffic::operator+=(const Traffic& other) {
  calls += other.calls;
  bytes += other.bytes;
  return *this;
}

void TrafficLedger::add(const std::string& axis, const std::string& operation, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  traffic_[axis][operation] += {.calls = 1, .bytes = bytes};
}

std::map<std::string, Traffic> TrafficLedger::by_axis() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, Traffic> sums;
  for (const auto& [axis, operations] : traffic_) {
    for (const auto& [operation, traffic] : operations) sums[axis] += traffic;
  }
  return sums;
}

std::map<std::string, Traffic> TrafficLedger::by_operation(const std::string& axis) const {
  const std::lock_guard lock(mutex_);
  const auto found = traffic_.find(axis);
  return found != traffic_.end() ? found->second : std::map<std::string, Traffic>{};
}

void TrafficLedger::reset() {
  const std::lock_guard lock(mutex_);
  traffic_.clear();
}

}  // namespace parallel
