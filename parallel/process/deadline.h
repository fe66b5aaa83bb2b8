// defines: Deadline: something that must be over in time, or else
#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace parallel {

/// Calls `late`, on a thread of its own, where it still lives after `seconds`. For what cannot be waited for with a
/// limit: MPI's blocking calls. `late` ends the process, as a rule; it may be running while the destructor waits.
class Deadline {
 public:
  /// `name`: of the thread, at most 15 characters, as the system's tools show it.
  Deadline(double seconds, const char* name, std::function<void()> late);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable over_changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace parallel
