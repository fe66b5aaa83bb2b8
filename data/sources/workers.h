// defines: threads_or_cores, for_each_index: the cores of this machine, for work cut into independent pieces
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace data {

/// One per core, where none are asked for.
inline int64_t threads_or_cores(int64_t threads) {
  return threads > 0 ? threads : std::max<int64_t>(1, std::thread::hardware_concurrency());
}

/// Calls work(i) once for each i in [0, count), from `threads` threads (0: one per core). Where calls throw, the
/// exception of the smallest such index is thrown, after all threads have stopped; larger ones may not be called then.
template <class Work>
void for_each_index(int64_t count, int64_t threads, const Work& work) {
  threads = std::min(threads_or_cores(threads), count);
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> first_fault{count};
  std::vector<std::exception_ptr> faults(static_cast<size_t>(count));
  const auto run = [&] {
    for (int64_t i = next++; i < first_fault; i = next++) {
      try {
        work(i);
      } catch (...) {
        faults[static_cast<size_t>(i)] = std::current_exception();
        for (int64_t known = first_fault; i < known && !first_fault.compare_exchange_weak(known, i);) {
        }
      }
    }
  };
  std::vector<std::jthread> others;
  for (int64_t t = 1; t < threads; ++t) others.emplace_back(run);
  run();
  others.clear();  // joins
  for (const std::exception_ptr& fault : faults) {
    if (fault) std::rethrow_exception(fault);
  }
}

}  // namespace data
