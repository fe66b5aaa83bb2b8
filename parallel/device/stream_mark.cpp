#include "parallel/device/stream_mark.h"

#include "parallel/base/fault.h"

namespace parallel {

StreamMark::StreamMark(const c10::Stream& stream) : event_(stream.device_type(), c10::EventFlag::BACKEND_DEFAULT) {
  event_.record(stream);
}

double StreamMark::seconds_since(const DeviceMark& earlier) const {
  const auto* other = dynamic_cast<const StreamMark*>(&earlier);
  check_internal(other != nullptr, "StreamMark: the other mark is no stream's");
  other->host_waits();
  host_waits();
  return 1e-3 * other->event_.elapsedTime(event_);
}

DeviceClock clock_of(c10::Device device) {
  if (!is_accelerator(device)) return {};
  return [device] { return std::make_shared<const StreamMark>(current_stream(device)); };
}

}  // namespace parallel
