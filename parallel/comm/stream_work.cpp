#include "parallel/comm/stream_work.h"

#include <c10/core/StreamGuard.h>

namespace parallel {

std::shared_ptr<const StreamMark> begin_on(const c10::Stream& stream, const std::shared_ptr<WorkState>& after) {
  StreamMark(current_stream(stream.device())).hold(stream);
  const c10::StreamGuard on_stream(stream);
  if (after) after->wait();
  return std::make_shared<const StreamMark>(stream);
}

}  // namespace parallel
