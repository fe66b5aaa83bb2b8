// defines: TrafficLedger, Traffic: what a rank has handed to others, by axis of the mesh
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace parallel {

struct Traffic {
  int64_t calls = 0;
  int64_t bytes = 0;  // of payload (parallel/comm/counting_communicator.h)

  Traffic& operator+=(const Traffic& other);
  bool operator==(const Traffic&) const = default;
};

/// Counts of one rank, written by its counting communicators from any thread.
class TrafficLedger {
 public:
  void add(const std::string& axis, const std::string& operation, int64_t bytes);

  /// Since the last reset, all operations together: an axis that has not been used is absent.
  std::map<std::string, Traffic> by_axis() const;
  /// Of one axis, by the name of the communicator's method.
  std::map<std::string, Traffic> by_operation(const std::string& axis) const;
  void reset();

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, Traffic>> traffic_;  // [axis][operation]
};

}  // namespace parallel
