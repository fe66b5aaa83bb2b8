#include "tests/strict_device/streams.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/strict_device/memory.h"
#include "tests/strict_device/nccl_ranks.h"

namespace strict {
namespace {

using Clock = std::chrono::steady_clock;

/// A rank that waits for others so long lets its other streams go on: the others may wait for those.
constexpr auto kPatience = std::chrono::milliseconds(20);
constexpr auto kPause = std::chrono::microseconds(20);

/// One whose streams do nothing for so long waits for what nobody does.
std::chrono::seconds until_it_hangs() {
  const char* told = std::getenv("STRICT_DEVICE_PATIENCE");
  return std::chrono::seconds(told == nullptr ? 600 : std::atoi(told));
}

/// Asked so often without waiting, an event's stream goes on: a host may poll.
constexpr int kAskedOften = 64;

constexpr c10::StreamId kArrivals = 1;  // of copies to the host

struct Entry {
  Step step;
  std::shared_ptr<Event> awaited;  // in place of a step
};

struct Queue {
  std::deque<Entry> entries;
  uint64_t issued = 0, done = 0;
  uint64_t seen = 0;  // of the default stream's ticks, by what is issued now
  bool busy = false;  // a step of it is being done, further up this thread's stack
};

class Device {
 public:
  static Device& instance() {
    static auto* const only = new Device;
    return *only;
  }

  c10::StreamId add() {
    const std::lock_guard lock(mutex_);
    queues_.emplace_back();
    return static_cast<c10::StreamId>(queues_.size()) - 1;
  }

  void issue(c10::StreamId stream, Entry entry) {
    const std::lock_guard lock(mutex_);
    Queue& queue = of(stream);
    if (entry.awaited) queue.seen = std::max(queue.seen, entry.awaited->seen);
    queue.entries.push_back(std::move(entry));
    ++queue.issued;
    if (stream == kDefaultStream) run(queue, queue.issued);
  }

  std::shared_ptr<Event> record(c10::StreamId stream) {
    const std::lock_guard lock(mutex_);
    auto event = std::make_shared<Event>();
    event->stream = stream;
    event->position = of(stream).issued + 1;
    event->arrivals = of(kArrivals).issued;
    event->seen = seen_by(stream);
    issue(stream, {[event] {
                     event->seconds = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
                     return true;
                   },
                   nullptr});
    return event;
  }

  bool passed(const Event& event) {
    const std::lock_guard lock(mutex_);
    Queue& queue = of(event.stream);
    if (queue.done >= event.position) return true;
    if (++asked_ % kAskedOften == 0) {
      for (Queue& each : queues_) advance_if_it_may(each);
    }
    return queue.done >= event.position;
  }

  void finish(c10::StreamId stream, uint64_t position) {
    const std::lock_guard lock(mutex_);
    run(of(stream), position);
  }

  uint64_t issued(c10::StreamId stream) {
    const std::lock_guard lock(mutex_);
    return of(stream).issued;
  }
  uint64_t outstanding(c10::StreamId stream) {
    const std::lock_guard lock(mutex_);
    return of(stream).issued - of(stream).done;
  }
  uint64_t tick() {
    const std::lock_guard lock(mutex_);
    return ++ticks_;
  }
  uint64_t seen_by(c10::StreamId stream) {
    const std::lock_guard lock(mutex_);
    return stream == kDefaultStream ? ticks_ : of(stream).seen;
  }
  size_t streams() {
    const std::lock_guard lock(mutex_);
    return queues_.size();
  }

 private:
  Queue& of(c10::StreamId stream) { return queues_.at(static_cast<size_t>(stream)); }
  bool passed_already(const Event& event) { return of(event.stream).done >= event.position; }

  void run(Queue& queue, uint64_t position) {
    auto patient_until = Clock::now() + kPatience;
    auto hangs_at = Clock::now() + until_it_hangs();
    while (queue.done < position) {
      const uint64_t before = queue.done;
      advance(queue);
      if (queue.done > before) {
        patient_until = Clock::now() + kPatience;
        hangs_at = Clock::now() + until_it_hangs();
        continue;
      }
      if (Clock::now() > hangs_at) refuse("a stream waits for what other ranks never issue");
      if (Clock::now() > patient_until) {
        for (Queue& other : queues_) {
          if (&other != &queue) advance_if_it_may(other);
        }
      }
      std::this_thread::sleep_for(kPause);
    }
  }

  void advance(Queue& queue) {
    const std::shared_ptr<Event> awaited = queue.entries.front().awaited;
    if (awaited && !passed_already(*awaited)) {
      TORCH_CHECK(!queue.busy, "strict device: two streams wait for each other");
      queue.busy = true;
      run(of(awaited->stream), awaited->position);
      queue.busy = false;
    }
    advance_if_it_may(queue);
  }

  void advance_if_it_may(Queue& queue) {
    if (queue.busy || queue.entries.empty()) return;
    Entry& entry = queue.entries.front();
    queue.busy = true;
    const bool complete = entry.awaited ? passed_already(*entry.awaited) : entry.step();
    queue.busy = false;
    if (!complete) return;
    queue.entries.pop_front();
    ++queue.done;
  }

  std::recursive_mutex mutex_;
  std::deque<Queue> queues_ = std::deque<Queue>(2);
  int asked_ = 0;
  uint64_t ticks_ = 0;
};

Device& device() { return Device::instance(); }

thread_local c10::StreamId current = kDefaultStream;
thread_local bool chose = false;
std::atomic<uint64_t> waits_of_host = 0;

}  // namespace

c10::StreamId new_stream() { return device().add(); }
void issue(c10::StreamId stream, Step step) { device().issue(stream, {std::move(step), nullptr}); }
std::shared_ptr<Event> record(c10::StreamId stream) { return device().record(stream); }
void wait_for(c10::StreamId stream, std::shared_ptr<Event> event) { device().issue(stream, {{}, std::move(event)}); }
bool passed(const Event& event) { return device().passed(event); }
void finish(c10::StreamId stream) { device().finish(stream, device().issued(stream)); }
void issue_arrival(Step step) { issue(kArrivals, std::move(step)); }
void host_saw(const Event& event) { device().finish(kArrivals, event.arrivals); }
uint64_t times_waited() { return waits_of_host; }
void host_waits(const Event& event) {
  ++waits_of_host;
  device().finish(event.stream, event.position);
  host_saw(event);
  pinned_arrived();
}
void host_waits(c10::StreamId stream) {
  ++waits_of_host;
  finish(stream);
  finish(kArrivals);
  pinned_arrived();
}
void host_waits_for_all() {
  ++waits_of_host;
  for (size_t s = 0; s < device().streams(); ++s) finish(static_cast<c10::StreamId>(s));
}
uint64_t outstanding(c10::StreamId stream) { return device().outstanding(stream); }
bool idle(c10::StreamId stream) { return outstanding(stream) == 0; }
uint64_t tick() { return device().tick(); }
uint64_t seen_by(c10::StreamId stream) { return device().seen_by(stream); }
void choose_device() { chose = true; }
bool chose_device() { return chose; }
c10::StreamId current_stream() { return current; }
c10::StreamId exchange_stream(c10::StreamId stream) { return std::exchange(current, stream); }

}  // namespace strict
