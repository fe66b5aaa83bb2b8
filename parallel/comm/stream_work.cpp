#include "parallel/comm/stream_work.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "parallel/base/fault.h"

namespace parallel {

StreamMark::StreamMark(const c10::Stream& stream) : event_(stream.device_type(), c10::EventFlag::BACKEND_DEFAULT) {
  event_.record(stream);
}

double StreamMark::seconds_since(const DeviceMark& earlier) const {
  const auto* other = dynamic_cast<const StreamMark*>(&earlier);
  check_internal(other != nullptr, "StreamMark: the other mark is no stream's");
  other->event_.synchronize();
  event_.synchronize();
  return 1e-3 * other->event_.elapsedTime(event_);
}

c10::Stream current_stream(c10::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

DeviceClock clock_of(c10::Device device) {
  if (device.is_cpu()) return {};
  return [device] { return std::make_shared<const StreamMark>(current_stream(device)); };
}

std::shared_ptr<const StreamMark> begin_on(const c10::Stream& stream, const std::shared_ptr<WorkState>& after) {
  StreamMark(current_stream(stream.device())).hold(stream);
  const c10::StreamGuard on_stream(stream);
  if (after) after->wait();
  return std::make_shared<const StreamMark>(stream);
}

}  // namespace parallel
