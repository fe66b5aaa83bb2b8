// defines: StreamMark, clock_of
#pragma once
#include <c10/core/Event.h>

#include "parallel/base/moment.h"
#include "parallel/device/accelerator.h"

namespace parallel {

/// A timed event behind what a stream holds now.
class StreamMark : public DeviceMark {
 public:
  explicit StreamMark(const c10::Stream& stream);
  double seconds_since(const DeviceMark& earlier) const override;
  /// What `stream` is given from now on waits until this is passed.
  void hold(const c10::Stream& stream) const { event_.block(stream); }
  bool passed() const { return event_.query(); }
  /// The host waits until it is.
  void host_waits() const { event_.synchronize(); }

 private:
  c10::Event event_;
};

/// Of what the calling thread's current stream does; empty for the CPU.
DeviceClock clock_of(c10::Device device);

}  // namespace parallel
