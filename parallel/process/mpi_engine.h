// The one thread of a rank that calls MPI.
// defines: MpiEngine, PendingOperation
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/process/lane.h"

namespace parallel {

/// One operation given to the engine: done once every request it started has completed.
class PendingOperation {
 public:
  bool done() const;
  /// Blocks until done; rethrows what starting the operation threw.
  void wait();

  /// From its start to when its completion was seen. @pre done()
  struct Span {
    std::chrono::steady_clock::time_point begin, end;
  };
  Span span() const;

 private:
  friend class MpiEngine;
  void start();
  void finish(std::exception_ptr error);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  Span span_;
  std::exception_ptr error_;
  std::atomic<int>* waiters_ = nullptr;  // the engine's count of threads that wait: it polls faster for them
};

/// Initializes MPI on its own thread, starts what is posted in the order of posting or of its lane, polls what is under
/// way and sleeps between polls (a spinning thread would take a core from the ranks that compute).
/// Must outlive every communicator made from it; the destructor finalizes MPI, except while an exception unwinds
/// (then the other ranks may be inside a collective, and the caller aborts the job).
class MpiEngine {
 public:
  /// What starting an operation leaves to be polled: opaque MPI_Request values. Kept by the engine until completion.
  using Requests = std::vector<void*>;

  MpiEngine();
  ~MpiEngine();
  MpiEngine(const MpiEngine&) = delete;
  MpiEngine& operator=(const MpiEngine&) = delete;

  /// What posting may say of an operation.
  struct Terms {
    /// Operations of one communicator begin in the order of posting, whole ones after each other where they have
    /// `then`.
    const void* communicator = nullptr;
    Lane lane = {};
    /// Asked until it says that the operation may start; only with a lane that does not yield.
    std::function<bool()> ready = {};
    /// Called once what `start` began has completed; what it begins belongs to the operation.
    std::function<Requests()> then = {};
  };

  /// Queues `start`, which calls non-blocking MPI operations and returns their requests. Operations start in the
  /// order of this call, or of their lane; every rank must post the same order for each communicator, all in one lane.
  [[nodiscard]] std::shared_ptr<PendingOperation> post(std::function<Requests()> start, Terms terms);
  [[nodiscard]] std::shared_ptr<PendingOperation> post(std::function<Requests()> start) {
    return post(std::move(start), Terms{});
  }

  /// Runs `action` on the engine's thread and waits for it: for calls that are blocking by nature (making
  /// communicators, parallel HDF5's metadata calls).
  void run(const std::function<void()>& action);

  /// Ends the job: prints nothing, kills every rank. Callable while the engine is stuck.
  [[noreturn]] static void abort_job(int exit_code);

  /// Processor seconds that the engine's thread has used.
  double cpu_seconds() const;

 private:
  struct Active {
    Requests requests;
    Terms terms;
    std::shared_ptr<PendingOperation> operation;
  };
  struct Queued {
    std::function<Requests()> start;
    Terms terms;
    std::shared_ptr<PendingOperation> operation;
  };

  void loop();
  void start_queued();
  void start(Queued& next);
  bool poll();
  bool wait_for_work();

  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Queued> queue_;
  std::deque<Queued> waiting_;  // for their turn; the engine's thread alone knows these and the active ones
  std::vector<Active> active_;
  std::chrono::steady_clock::time_point last_change_;  // when an operation last started or ended
  std::atomic<int> waiters_ = 0;
  bool stopping_ = false;
  bool finalize_ = true;
  std::thread thread_;
};

}  // namespace parallel
