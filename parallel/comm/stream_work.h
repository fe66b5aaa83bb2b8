// Work that a device's streams carry, on any kind of device.
// defines: StreamMark, current_stream, clock_of, begin_on, StreamWork
#pragma once
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <memory>
#include <optional>

#include "parallel/comm/work.h"

namespace parallel {

/// A timed event behind what a stream holds now.
class StreamMark : public DeviceMark {
 public:
  explicit StreamMark(const c10::Stream& stream);
  double seconds_since(const DeviceMark& earlier) const override;
  /// What `stream` is given from now on waits until this is passed.
  void hold(const c10::Stream& stream) const { event_.block(stream); }
  bool passed() const { return event_.query(); }

 private:
  c10::Event event_;
};

/// The calling thread's current stream on that device.
c10::Stream current_stream(c10::Device device);

/// Of what the calling thread's current stream does; empty for the CPU.
DeviceClock clock_of(c10::Device device);

/// Where an operation begins on `stream`: behind what the calling thread's current stream has queued (the making of its
/// tensors), and behind `after`, where that is not null.
std::shared_ptr<const StreamMark> begin_on(const c10::Stream& stream, const std::shared_ptr<WorkState>& after);

/// What `stream` has been given since `begun`.
class StreamWork : public WorkState {
 public:
  StreamWork(const c10::Stream& stream, std::shared_ptr<const StreamMark> begun)
      : begun_(std::move(begun)), finished_(std::make_shared<const StreamMark>(stream)), device_(stream.device()) {}
  void wait() override { finished_->hold(current_stream(device_)); }
  bool done() override { return finished_->passed(); }
  std::optional<WorkSpan> span() override { return WorkSpan{Moment(begun_), Moment(finished_)}; }

 private:
  std::shared_ptr<const StreamMark> begun_, finished_;
  c10::Device device_;
};

}  // namespace parallel
