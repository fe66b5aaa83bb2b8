// The strict device's queues. The default stream does each thing when it is told; every other stream as late as it may:
// when a stream that the host drives, or the host itself, waits for it. What is not waited for has then not happened.
// defines: Step, Event, kDefaultStream, new_stream, issue, record, wait_for, passed, idle, finish, issue_arrival,
// host_waits, host_waits_for_all, times_waited, host_saw, outstanding, tick, seen_by, choose_device, chose_device,
// current_stream, exchange_stream
#pragma once
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <memory>

namespace strict {

/// Part of a stream's work: does what it can without waiting, and says whether it is complete; called until it is.
using Step = std::function<bool()>;

constexpr c10::StreamId kDefaultStream = 0;

/// A place in a stream.
struct Event {
  c10::StreamId stream = kDefaultStream;
  uint64_t position = 0;  // passed when so many of the stream's steps are complete
  double seconds = 0;     // when it was passed
  uint64_t arrivals = 0;  // copies to the host that were issued before it
  uint64_t seen = 0;      // what it is behind, of the default stream's ticks
};

c10::StreamId new_stream();

/// Behind what the stream holds.
void issue(c10::StreamId stream, Step step);
std::shared_ptr<Event> record(c10::StreamId stream);
void wait_for(c10::StreamId stream, std::shared_ptr<Event> event);

/// Without waiting.
bool passed(const Event& event);
bool idle(c10::StreamId stream);

/// A stream does what it has. Not what arrives at the host.
void finish(c10::StreamId stream);

/// A copy to the host for which nobody waits is made when the host has waited for what came after it.
void issue_arrival(Step step);

/// The host waits.
void host_waits(const Event& event);
void host_waits(c10::StreamId stream);
void host_waits_for_all();
/// How often it has.
uint64_t times_waited();
/// It need not, for the event was passed.
void host_saw(const Event& event);

/// Steps that no stream has done.
uint64_t outstanding(c10::StreamId stream);

/// The default stream's steps are numbered; what a stream is given now is behind those up to seen_by(stream).
uint64_t tick();
uint64_t seen_by(c10::StreamId stream);

/// A thread that chose none has the process' first GPU, which is the right one on one rank alone.
void choose_device();
bool chose_device();

c10::StreamId current_stream();
c10::StreamId exchange_stream(c10::StreamId stream);

}  // namespace strict
