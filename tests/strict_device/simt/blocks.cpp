// A launch on the host. Threads of a block are fibers: each runs until it waits for its warp or its block, so that what
// nobody waited for is missing, or stands in the way. Every other launch goes from the last thread to the first. Shared
// memory holds not-a-numbers when a block begins.
//
// Fibers are made by makecontext and then jump: swapcontext would call the kernel twice at each of their turns, for a
// mask of signals that nobody changes, and take most of the time. (What _FORTIFY_SOURCE puts into jumps refuses other
// stacks.)
#undef _FORTIFY_SOURCE
#include <setjmp.h>
#include <ucontext.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/strict_device/simt/cuda_runtime.h"

namespace parallel {
constexpr size_t kSharedWords = (48 << 10) / 8;  // what every GPU has without being asked
uint64_t shared_words[kSharedWords + 64];        // and what lies behind it
}  // namespace parallel

namespace simt {

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kLanes = 32, kMostThreads = 1024;
constexpr uint64_t kPoison = ~uint64_t{0}, kCanary = 0x5AA55AA55AA55AA5;

enum class State { kReady, kInWarp, kInBlock, kDone };

/// From block to block the same: what is done with one thread waits for the next.
struct Fiber {
  ucontext_t start{};
  jmp_buf place{};
  std::unique_ptr<char[]> stack;
  bool begun = false;  // it is at `place`, not at `start`
  State state = State::kDone;
  uint64_t brought = 0;
};

struct Refused {
  const char* why;
};

/// One block after another, by one thread of the host at a time.
class Machine {
 public:
  static Machine& instance() {
    static auto* const only = new Machine;
    return *only;
  }

  std::mutex& mutex() { return mutex_; }

  const char* run(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
    const unsigned threads = config.blockDim.x;
    if (threads == 0 || threads > kMostThreads || threads % kLanes != 0) return "a block of so many threads";
    if (config.gridDim.x == 0 || config.dynamicSmemBytes > 8 * parallel::kSharedWords) return "a grid of this shape";
    blockDim = config.blockDim;
    gridDim = config.gridDim;
    thread_ = &thread;
    backwards_ = !backwards_;
    refused_ = nullptr;
    waited_ = false;
    while (fibers_.size() < threads) {
      fibers_.push_back(std::make_unique<Fiber>());
      fibers_.back()->stack = std::make_unique<char[]>(kStackBytes);
    }
    for (unsigned b = 0; b < config.gridDim.x && refused_ == nullptr; ++b) {
      blockIdx = dim3(backwards_ ? config.gridDim.x - 1 - b : b);
      const size_t words = (config.dynamicSmemBytes + 7) / 8;
      for (size_t w = 0; w < words; ++w) parallel::shared_words[w] = kPoison;
      for (size_t w = words; w < words + 64; ++w) parallel::shared_words[w] = kCanary;
      // Where no thread of the first block waits, none is expected to, and no fibers are needed.
      if (b == 0 || waited_) {
        run_in_turns(threads);
      } else {
        run_alone(threads);
      }
      for (size_t w = words; w < words + 64; ++w) {
        if (parallel::shared_words[w] != kCanary) refused_ = "shared memory behind its end was written";
      }
    }
    return refused_;
  }

  void wait(State state) {
    if (!in_fibers_) throw Refused{"threads wait for each other in some blocks and not in the first"};
    waited_ = true;
    leave(*fibers_[threadIdx.x], state);
  }

  const uint64_t* exchange(unsigned mask, uint64_t value) {
    if (mask != ~0u) refused_ = "a warp of fewer than 32 lanes";
    if (in_fibers_) fibers_[threadIdx.x]->brought = value;
    wait(State::kInWarp);
    return exchanged_[threadIdx.x / kLanes];
  }

 private:
  static void begin() {
    Machine& all = instance();
    for (;;) {
      (*all.thread_)();
      all.leave(*all.fibers_[threadIdx.x], State::kDone);
    }
  }

  /// From the fiber that runs to who let it run; comes back in its next turn.
  [[gnu::noinline]] void leave(Fiber& own, State state) {
    own.state = state;
    if (_setjmp(own.place) == 0) _longjmp(scheduler_, 1);
  }

  /// Until it leaves.
  [[gnu::noinline]] void enter(Fiber& fiber) {
    if (_setjmp(scheduler_) != 0) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.start);
  }

  /// At the beginning of a thread.
  void make_ready(Fiber& fiber) {
    if (!fiber.begun || fiber.state != State::kDone) {  // new, or left in the middle of what was refused
#if defined(__SANITIZE_ADDRESS__)
      __asan_unpoison_memory_region(fiber.stack.get(), kStackBytes);  // of whoever was left in its middle
#endif
      getcontext(&fiber.start);
      fiber.start.uc_stack.ss_sp = fiber.stack.get();
      fiber.start.uc_stack.ss_size = kStackBytes;
      fiber.start.uc_link = nullptr;
      makecontext(&fiber.start, &Machine::begin, 0);
      fiber.begun = false;
    }
    fiber.state = State::kReady;
  }

  unsigned in_order(unsigned i, unsigned threads) const { return backwards_ ? threads - 1 - i : i; }

  void run_alone(unsigned threads) {
    in_fibers_ = false;
    try {
      for (unsigned i = 0; i < threads; ++i) {
        threadIdx = dim3(in_order(i, threads));
        (*thread_)();
      }
    } catch (const Refused& refused) {
      refused_ = refused.why;
    }
  }

  void run_in_turns(unsigned threads) {
    in_fibers_ = true;
    for (unsigned t = 0; t < threads; ++t) make_ready(*fibers_[t]);
    while (refused_ == nullptr) {
      for (unsigned i = 0; i < threads; ++i) {
        const unsigned t = in_order(i, threads);
        if (fibers_[t]->state != State::kReady) continue;
        threadIdx = dim3(t);
        enter(*fibers_[t]);
      }
      if (count(State::kDone, 0, threads) == threads) return;
      if (!let_go(threads) && refused_ == nullptr) refused_ = "a wait that not all threads of a warp or block come to";
    }
  }

  unsigned count(State state, unsigned first, unsigned size) const {
    unsigned found = 0;
    for (unsigned t = first; t < first + size; ++t) found += fibers_[t]->state == state;
    return found;
  }

  /// Whether somebody can go on.
  bool let_go(unsigned threads) {
    bool some = false;
    for (unsigned first = 0; first < threads; first += kLanes) {
      if (count(State::kInWarp, first, kLanes) != kLanes) continue;
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        exchanged_[first / kLanes][lane] = fibers_[first + lane]->brought;
        fibers_[first + lane]->state = State::kReady;
      }
      some = true;
    }
    if (count(State::kInBlock, 0, threads) != threads) return some;
    for (unsigned t = 0; t < threads; ++t) fibers_[t]->state = State::kReady;
    return true;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  jmp_buf scheduler_{};
  uint64_t exchanged_[kMostThreads / kLanes][kLanes] = {};
  const std::function<void()>* thread_ = nullptr;
  const char* refused_ = nullptr;
  bool backwards_ = true, waited_ = false, in_fibers_ = false;
};

thread_local const char* last_refused = "";

}  // namespace

cudaError_t run_blocks(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  const std::lock_guard lock(Machine::instance().mutex());
  const char* refused = Machine::instance().run(config, thread);
  if (refused == nullptr) return cudaSuccess;
  last_refused = refused;
  return cudaErrorLaunchFailure;
}

void block_waits() { Machine::instance().wait(State::kInBlock); }
const uint64_t* warp_exchange(unsigned mask, uint64_t own) { return Machine::instance().exchange(mask, own); }
unsigned lane_of_thread() { return threadIdx.x % kLanes; }

const char* cudaGetErrorString(cudaError_t status) { return status == cudaSuccess ? "no error" : last_refused; }

}  // namespace simt
