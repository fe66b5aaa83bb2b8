#include "parallel/process/mpi_engine.h"

#include <mpi.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <map>
#include <set>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/process/launcher.h"
#include "parallel/process/mpi_check.h"

namespace parallel {
namespace {

/// How long to sleep between polls, given the time since an operation last started or ended: a share of that time, so
/// that the delay stays in proportion, and a stalled group costs few wake-ups (about 10 us of processor time each).
struct PollInterval {
  std::chrono::nanoseconds shortest, longest;
  int64_t divisor;
  std::chrono::nanoseconds after(std::chrono::nanoseconds quiet) const {
    return std::clamp(quiet / divisor, shortest, longest);
  }
};

// A waited-for operation is on the critical path; the others are hidden behind compute, from which a wake-up takes its
// time (parallel/README.md, "One engine thread").
constexpr PollInterval kWaited{std::chrono::microseconds(10), std::chrono::milliseconds(1), 16};
constexpr PollInterval kHidden{std::chrono::microseconds(100), std::chrono::milliseconds(1), 8};

/// Operations of a link under way at once. Two: the second's handshake goes on while the first has the wire, and what
/// it sends lies behind the first one's bytes (one connection, in order).
constexpr int kLinkDepth = 2;

static_assert(sizeof(MPI_Request) <= sizeof(void*), "a request is carried as an opaque pointer");

/// The calling thread computes little and often: with a short slice the kernel lets it on a core at once where a thread
/// that computes would keep it for some milliseconds (Linux 6.12 on; before, and where refused, nothing changes).
void take_short_slices() {
  struct {  // sched_attr, which glibc does not declare
    uint32_t size = sizeof(*this), policy = 0;
    uint64_t flags = 0;
    int32_t nice = 0;
    uint32_t priority = 0;
    uint64_t runtime = 100'000;  // [ns]
    uint64_t deadline = 0, period = 0;
  } attributes;
  static_assert(sizeof attributes == 48);
  attributes.nice = getpriority(PRIO_PROCESS, 0);
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

MPI_Request to_request(void* opaque) { return reinterpret_cast<MPI_Request>(opaque); }

void initialize_mpi() {
  // Without mpirun Open MPI would fork a daemon for one process; a lone rank needs none.
  if (!under_launcher()) setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) throw InternalError("MPI gives no MPI_THREAD_FUNNELED");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

}  // namespace

bool PendingOperation::done() const {
  std::lock_guard lock(mutex_);
  return done_;
}

void PendingOperation::wait() {
  std::unique_lock lock(mutex_);
  if (!done_) {
    ++*waiters_;
    changed_.wait(lock, [&] { return done_; });
    --*waiters_;
  }
  if (error_) std::rethrow_exception(error_);
}

PendingOperation::Span PendingOperation::span() const {
  std::lock_guard lock(mutex_);
  return span_;
}

void PendingOperation::start() {
  std::lock_guard lock(mutex_);
  span_.begin = std::chrono::steady_clock::now();
}

void PendingOperation::finish(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  done_ = true;
  span_.end = std::chrono::steady_clock::now();
  error_ = std::move(error);
  changed_.notify_all();
}

MpiEngine::MpiEngine() {
  thread_ = std::thread([this] { loop(); });
  try {
    run(initialize_mpi);
  } catch (...) {
    finalize_ = false;
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    posted_.notify_one();
    thread_.join();
    throw;
  }
}

MpiEngine::~MpiEngine() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (std::uncaught_exceptions() > 0) finalize_ = false;
  }
  posted_.notify_one();
  thread_.join();
}

std::shared_ptr<PendingOperation> MpiEngine::post(std::function<Requests()> start, Terms terms) {
  const bool takes_turns = terms.lane.link != Link::kNone && !terms.lane.yields;
  check_internal(!terms.ready || takes_turns, "MpiEngine: only a lane's turn can be waited for");
  auto operation = std::make_shared<PendingOperation>();
  operation->waiters_ = &waiters_;
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({std::move(start), std::move(terms), operation});
  }
  posted_.notify_one();
  return operation;
}

void MpiEngine::run(const std::function<void()>& action) {
  post([&action] {
    action();
    return Requests{};
  })->wait();
}

void MpiEngine::abort_job(int exit_code) {
  // MPI_Abort from a second thread is outside the level of thread support, but the job is over and the engine may
  // be stuck inside a collective: nothing else reaches the other ranks.
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

double MpiEngine::cpu_seconds() const {
  clockid_t clock{};
  timespec time{};
  if (pthread_getcpuclockid(const_cast<std::thread&>(thread_).native_handle(), &clock) != 0) return 0;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

bool MpiEngine::wait_for_work() {
  std::unique_lock lock(mutex_);
  if (active_.empty() && waiting_.empty()) {
    posted_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
  } else if (queue_.empty()) {
    const auto quiet = std::chrono::steady_clock::now() - last_change_;
    posted_.wait_for(lock, (waiters_ > 0 ? kWaited : kHidden).after(quiet), [&] { return !queue_.empty(); });
  }
  return !(stopping_ && queue_.empty() && waiting_.empty() && active_.empty());
}

void MpiEngine::loop() {
  take_short_slices();
  prctl(PR_SET_TIMERSLACK, 1000UL);  // [ns] the default of 50 us would stretch every poll interval
  while (wait_for_work()) {
    {
      std::lock_guard lock(mutex_);
      for (Queued& next : queue_) waiting_.push_back(std::move(next));
      queue_.clear();
    }
    do start_queued();
    while (poll() && !waiting_.empty());  // what has ended may make way for another
  }
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (finalize_ && initialized != 0) MPI_Finalize();
}

void MpiEngine::start_queued() {
  if (waiting_.empty()) return;
  std::map<Link, int> taken;  // places, by operations that do not yield; all of them by one in the queue
  std::set<const void*> taken_communicators;  // by an operation that has still to begin a part
  for (const Active& active : active_) {
    if (!active.terms.lane.yields) ++taken[active.terms.lane.link];
    if (active.terms.then) taken_communicators.insert(active.terms.communicator);
  }
  std::deque<Queued> later;
  for (Queued& next : waiting_) {
    const Lane lane = next.terms.lane;
    const void* communicator = next.terms.communicator;
    const bool free = (lane.link == Link::kNone || taken[lane.link] < (lane.yields ? 1 : kLinkDepth)) &&
                      (communicator == nullptr || !taken_communicators.contains(communicator));
    const bool starts = free && (!next.terms.ready || next.terms.ready());
    if (!lane.yields) taken[lane.link] += starts ? 1 : kLinkDepth;
    if (!starts || next.terms.then) taken_communicators.insert(communicator);
    if (starts) {
      start(next);
    } else {
      later.push_back(std::move(next));
    }
  }
  waiting_.swap(later);
}

void MpiEngine::start(Queued& next) {
  last_change_ = std::chrono::steady_clock::now();
  next.operation->start();
  try {
    Requests requests = next.start();
    if (requests.empty() && next.terms.then) requests = std::exchange(next.terms.then, {})();
    if (requests.empty()) {
      next.operation->finish(nullptr);
    } else {
      active_.push_back({std::move(requests), std::move(next.terms), next.operation});
    }
  } catch (...) {
    next.operation->finish(std::current_exception());
  }
}

/// Whether anything has ended.
bool MpiEngine::poll() {
  bool ended = false;
  for (auto active = active_.begin(); active != active_.end();) {
    std::vector<MPI_Request> requests;
    for (void* opaque : active->requests) requests.push_back(to_request(opaque));
    int all_done = 0;
    std::exception_ptr error;
    try {
      check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all_done, MPI_STATUSES_IGNORE),
                "MPI_Testall");
      if (all_done != 0 && active->terms.then) {
        active->requests = std::exchange(active->terms.then, {})();
        last_change_ = std::chrono::steady_clock::now();
        ended = true;  // its communicator may be free
        all_done = active->requests.empty() ? 1 : 0;
      }
    } catch (...) {
      error = std::current_exception();
    }
    if (all_done != 0 || error) {
      active->operation->finish(error);
      active = active_.erase(active);
      last_change_ = std::chrono::steady_clock::now();
      ended = true;
    } else {
      ++active;
    }
  }
  return ended;
}

}  // namespace parallel
