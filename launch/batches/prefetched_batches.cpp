#include "launch/batches/prefetched_batches.h"

#include <chrono>
#include <utility>

namespace launch {

PrefetchedBatches::PrefetchedBatches(const TrainingBatches& batches, int64_t first, int64_t end)
    : thread_([this, &batches, first, end] { read_ahead(batches, first, end); }) {}

PrefetchedBatches::~PrefetchedBatches() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void PrefetchedBatches::read_ahead(const TrainingBatches& batches, int64_t first, int64_t end) {
  for (int64_t update = first; update < end; ++update) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || ready_.size() < kDepth; });
      if (stop_) return;
    }
    std::vector<MicroBatch> read;
    std::exception_ptr fault;
    try {
      read = batches.read(update);
    } catch (...) {  // for take(), on the thread whose fault is the run's
      fault = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      if (fault) {
        fault_ = fault;
      } else {
        ready_.push_back(std::move(read));
      }
    }
    changed_.notify_all();
    if (fault) return;
  }
}

PrefetchedBatches::Next PrefetchedBatches::take() {
  const auto start = std::chrono::steady_clock::now();
  Next next;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty() || fault_; });
    if (ready_.empty()) {
      next.fault = fault_;
    } else {
      next.batches = std::move(ready_.front());
      ready_.pop_front();
    }
  }
  changed_.notify_all();
  next.waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return next;
}

}  // namespace launch
