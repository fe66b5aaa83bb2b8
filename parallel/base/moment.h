// When something was. A device works behind the host: there it is a mark in its queue, which has a time once passed.
// defines: TracePoint, seconds_between, DeviceMark, DeviceClock, Moment
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

namespace parallel {

using TracePoint = std::chrono::steady_clock::time_point;
inline double seconds_between(TracePoint begin, TracePoint end) {
  return std::chrono::duration<double>(end - begin).count();
}

/// A place in a device's queue of work.
class DeviceMark {
 public:
  virtual ~DeviceMark() = default;
  /// [s] from when the device passed `earlier` to when it passed this one. Blocks until it has passed both.
  virtual double seconds_since(const DeviceMark& earlier) const = 0;
};

/// Marks what the calling thread has queued so far; empty: the host does the work itself.
using DeviceClock = std::function<std::shared_ptr<const DeviceMark>()>;

class Moment {
 public:
  Moment() = default;
  Moment(TracePoint point) : point_(point) {}                                 // NOLINT: a time of the host is a moment
  Moment(std::shared_ptr<const DeviceMark> mark) : mark_(std::move(mark)) {}  // NOLINT: so is a device's

  static Moment now(const DeviceClock& clock) {
    return clock ? Moment(clock()) : Moment(std::chrono::steady_clock::now());
  }

  /// On the host's clock. `passed`: a mark of the same device and when it passed that; blocks until it has passed this.
  TracePoint point(const std::pair<std::shared_ptr<const DeviceMark>, TracePoint>& passed) const {
    if (!mark_) return point_;
    const std::chrono::duration<double> since(mark_->seconds_since(*passed.first));
    return passed.second + std::chrono::duration_cast<TracePoint::duration>(since);
  }

 private:
  TracePoint point_;
  std::shared_ptr<const DeviceMark> mark_;
};

}  // namespace parallel
