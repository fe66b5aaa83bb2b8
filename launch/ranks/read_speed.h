// defines: Stopwatch, ReadSpeed, memory_read_speed
#pragma once
#include <chrono>
#include <ctime>

namespace launch {

/// Since it was made.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count(); }
  /// Of all threads of this process.
  double cpu_seconds() const { return cpu_now() - cpu_began_; }

 private:
  static double cpu_now() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  double cpu_began_ = cpu_now();
};

/// [bytes a second] by the clock, and of CPU seconds.
struct ReadSpeed {
  double by_clock = 0, by_cpu = 0;
};

/// At which this process, with LibTorch's threads, reads memory that no cache holds: the best of a sum and of a product
/// of a matrix with a vector over half a GiB.
ReadSpeed memory_read_speed();

}  // namespace launch
