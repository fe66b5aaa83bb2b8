// defines: PrefetchedBatches: the next updates' batches, read while a step runs
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "launch/batches/batches.h"

namespace launch {

/// Reads the updates [first, end) in their order on a thread of its own, at most kDepth ahead. `batches` outlives it,
/// and nobody else reads of it meanwhile. Its end waits for the read that is under way.
class PrefetchedBatches {
 public:
  static constexpr size_t kDepth = 2;

  PrefetchedBatches(const TrainingBatches& batches, int64_t first, int64_t end);
  PrefetchedBatches(const PrefetchedBatches&) = delete;
  PrefetchedBatches& operator=(const PrefetchedBatches&) = delete;
  ~PrefetchedBatches();

  struct Next {
    std::vector<MicroBatch> batches;
    std::exception_ptr fault;  // what reading them threw; null: nothing. The same of all later ones
    double waited = 0;         // seconds
  };
  /// Of the update after the one taken last. @pre there is one
  Next take();

 private:
  void read_ahead(const TrainingBatches& batches, int64_t first, int64_t end);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<MicroBatch>> ready_;
  std::exception_ptr fault_;
  bool stop_ = false;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace launch
