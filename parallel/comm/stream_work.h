// Work that a device's streams carry, on any kind of device.
// defines: begin_on, StreamWork
#pragma once
#include <memory>
#include <optional>

#include "parallel/comm/work.h"
#include "parallel/device/stream_mark.h"

namespace parallel {

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
