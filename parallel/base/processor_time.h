// defines: processor_seconds
#pragma once
#include <ctime>

namespace parallel {

/// [s] that all threads of this process have computed so far: what other processes on the same cores do not change.
inline double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace parallel
